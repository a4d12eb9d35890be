"""``ntrack verify`` on run folders in which a file is missing, cut, doubled or another run's.

It exits with 6 and prints a line that names the run and the error; never with 0, never with a traceback.
"""

import shutil

import pyarrow.parquet as pq
import pytest

from tests.integration.verify.conftest import ntrack, only, run_folder, verify

EVENTS, LEDGER, TAIL, PART = "events-*.jsonl", "ledger-*.json", "metrics/tail-*.seg", "metrics/part-*.parquet"


def assert_told(base, name, text):
    code, said = verify(base)
    folder = run_folder(base, name).name
    lines = [line for line in said.splitlines() if folder in line and text in line]
    assert (code, bool(lines)) == (6, True), said


def test_whole_runs_pass_with_their_gaps_named(runs):
    code, said = verify(runs)

    assert code == 0, said
    assert f"{run_folder(runs, 'dead').name} gap event" in said


@pytest.mark.parametrize(
    ("name", "pattern", "text"),
    [
        ("whole", PART, "missing events"),
        ("whole", EVENTS, "missing events 1–2"),
        ("whole", LEDGER, "is missing, so events-"),
        ("whole", TAIL, ".seg: is missing"),
        ("whole", "run.json", "run.json: is missing"),
        ("live", LEDGER, "is missing, so events-"),
        ("live", TAIL, "missing event"),
        ("live", EVENTS, "missing events 1–2"),
        ("dead", EVENTS, "missing event 1"),
    ],
)
def test_file_that_is_gone_is_told(runs, name, pattern, text):
    only(run_folder(runs, name), pattern).unlink()

    assert_told(runs, name, text)


@pytest.mark.parametrize(
    ("name", "pattern", "keep", "text"),
    [
        ("whole", PART, 0.0, "does not end as a Parquet file does"),
        ("whole", PART, 0.5, "does not end as a Parquet file does"),
        ("whole", EVENTS, 0.0, "has 0 bytes"),
        ("whole", EVENTS, 0.5, "were durable"),
        ("whole", EVENTS, -1, "were durable"),
        ("whole", LEDGER, 0.0, "is not a ledger"),
        ("whole", LEDGER, 0.5, "is not a ledger"),
        ("whole", TAIL, 0.5, "shorter than its 64-byte header"),
        ("live", TAIL, 0.0, "shorter than its 64-byte header"),
        ("live", TAIL, 0.5, "were durable"),
        ("live", TAIL, -8, "were durable"),
        ("live", EVENTS, -1, "were durable"),
        ("whole", "run.json", 0.0, "does not say whose run this is"),
    ],
)
def test_file_that_was_cut_is_told(runs, name, pattern, keep, text):
    path = only(run_folder(runs, name), pattern)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep >= 0 else keep])

    assert_told(runs, name, text)


def changed_lines(folder, change):
    path = only(folder, EVENTS)
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    return path


def kind_of(line):
    """Return the kind of a line, by the key that only this kind has."""
    return next(key for key in (b'"seq":', b'"gap":', b'"note":', b'"info":') if key in line)


@pytest.mark.parametrize("name", ["whole", "live", "dead"])
def test_each_line_is_missed(runs, name):
    path = only(run_folder(runs, name), EVENTS)
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    for gone in range(len(lines)):
        path.write_bytes(b"".join(line for at, line in enumerate(lines) if at != gone))

        code, said = verify(runs)

        assert code == 6, lines[gone]
        assert ("missing event" if kind_of(lines[gone]) in (b'"seq":', b'"gap":') else "were durable") in said


@pytest.mark.parametrize("name", ["whole", "live", "dead"])
def test_line_of_each_kind_that_stands_twice_is_told(runs, name):
    path = only(run_folder(runs, name), EVENTS)
    data = path.read_bytes()
    for line in {kind_of(line): line for line in data.splitlines(keepends=True)}.values():
        path.write_bytes(data + line)

        assert_told(runs, name, "stored more than once" if b'"seq":' in line else "repeat a line")


def test_gap_that_was_edited_is_told(runs):
    folder = run_folder(runs, "dead")
    changed_lines(folder, lambda lines: [line.replace(b'"gap":[', b'"gap":[1') for line in lines])

    assert_told(runs, "dead", "are not a valid line")
    assert_told(runs, "dead", "missing event")


@pytest.mark.parametrize("other", ["part-{}-77.parquet", "part-00000000-1.parquet"])
def test_part_that_is_there_twice_is_told(runs, other):
    folder = run_folder(runs, "whole")
    path = only(folder, PART)
    shutil.copy(path, path.with_name(other.format(path.name.split("-")[1])))

    assert_told(runs, "whole", "holds another part")


def test_part_without_one_of_its_row_groups_is_told(runs):
    path = only(run_folder(runs, "whole"), PART)
    file = pq.ParquetFile(path)
    assert file.num_row_groups > 2
    keep = [group for group in range(file.num_row_groups) if group != 1]
    table, metadata = file.read_row_groups(keep), file.metadata.metadata
    with pq.ParquetWriter(path, table.schema.with_metadata(metadata)) as writer:
        writer.write_table(table)

    assert_told(runs, "whole", path.name)


@pytest.mark.parametrize(
    ("name", "pattern", "text"),
    [
        ("whole", PART, "which does not belong to this run"),
        ("live", TAIL, "missing events"),
        ("live", EVENTS, "missing event"),
        ("live", LEDGER, "run.json says"),
        ("live", "run.json", "run.json says"),
    ],
)
def test_file_of_another_run_is_told(runs, name, pattern, text):
    other = only(run_folder(runs, "other"), pattern)
    shutil.copy(other, only(run_folder(runs, name), pattern))

    assert_told(runs, name, text)


def test_copy_beside_the_run_is_told(runs):
    shutil.copytree(run_folder(runs, "whole"), runs / "backup")

    code, said = verify(runs)

    assert code == 6, said
    assert "holds the same run as" in said


def test_run_that_was_moved_verifies_by_itself(runs, tmp_path):
    for name in ("whole", "dead", "live"):
        elsewhere = tmp_path / "elsewhere" / name
        shutil.move(run_folder(runs, name), elsewhere)

        code, said = ntrack("verify", elsewhere, "--base-dir", tmp_path / "nothing")

        assert code == 0, said
