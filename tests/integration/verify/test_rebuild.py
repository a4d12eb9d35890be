"""``ntrack runs rebuild`` makes views equal to the live ones, and loses no stored data."""

import json
import os
import shutil

import pytest

from neural.tracking.formats.run_file import RunFile
from neural.tracking.reader.json_views import NAMES
from tests.integration.verify.conftest import ntrack, only, run_folder, verify

RUNS = ("whole", "other", "dead", "live")


def views(folder):
    """Return the existing views, parsed."""
    paths = [folder / f"{name}.json" for name in NAMES]
    return {path.name: json.loads(path.read_bytes()) for path in paths if path.exists()}


def truth(folder):
    """Return the bytes of all files that are not views."""
    names = {f"{name}.json" for name in NAMES}
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name not in names}


@pytest.mark.parametrize("before", ["gone", "garbage"])
def test_views_are_as_the_collector_made_them(runs, before):
    live = {name: views(run_folder(runs, name)) for name in RUNS}
    for name in RUNS:
        for view in live[name]:
            path = run_folder(runs, name) / view
            path.unlink() if before == "gone" else path.write_text("[")

    code, said = ntrack("runs", "rebuild", "--base-dir", runs)

    assert code == 0, said
    for name in RUNS:
        again = views(run_folder(runs, name))
        assert {view: again[view] for view in live[name]} == live[name]


@pytest.mark.parametrize("harm", ["flipped", "gone"])
def test_run_file_is_made_anew_from_what_the_store_keeps(runs, harm):
    path = run_folder(runs, "whole") / "run.json"
    whole = RunFile.load(path.parent)
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    if harm == "gone":
        path.unlink()
    before, _ = verify(runs)

    code, said = ntrack("runs", "rebuild", "--base-dir", runs)

    assert before == 6
    assert code == 0, said
    again = RunFile.load(path.parent)
    assert again._replace(opened_ns=0) == whole._replace(opened_ns=0)
    assert abs(again.opened_ns - whole.opened_ns) < 60e9  # when its first session was opened, a moment later
    assert verify(runs)[0] != 6


def test_nothing_of_the_truth_changes(runs):
    before = {name: truth(run_folder(runs, name)) for name in RUNS}

    ntrack("runs", "rebuild", "--base-dir", runs)

    assert {name: truth(run_folder(runs, name)) for name in RUNS} == before


def test_run_that_was_moved_rebuilds_by_itself(runs, tmp_path):
    live = views(run_folder(runs, "whole"))
    elsewhere = tmp_path / "elsewhere" / "renamed"
    shutil.move(run_folder(runs, "whole"), elsewhere)
    for name in NAMES:
        (elsewhere / f"{name}.json").unlink()

    code, said = ntrack("runs", "rebuild", elsewhere, "--base-dir", tmp_path / "nothing")

    assert code == 0, said
    assert views(elsewhere) == live


@pytest.mark.parametrize("pattern", ["events-*.jsonl", "metrics/part-*.parquet", "ledger-*.json"])
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_views_stay_where_the_truth_is_not_whole(runs, pattern, how):
    folder = run_folder(runs, "whole")
    path = only(folder, pattern)
    path.unlink() if how == "gone" else path.write_bytes(path.read_bytes()[:-100])
    before, known = truth(folder), views(folder)

    code, said = ntrack("runs", "rebuild", "whole", "--base-dir", runs)

    assert (code, views(folder)) == (1, known), said
    assert path.name in said or "missing" in said
    assert truth(folder) == before


def test_force_rebuilds_from_what_is_left(runs):
    folder = run_folder(runs, "whole")
    path = only(folder, "events-*.jsonl")
    path.write_bytes(
        b"".join(line for line in path.read_bytes().splitlines(keepends=True) if b'"kind":"params"' not in line)
    )
    before = truth(folder)

    code, said = ntrack("runs", "rebuild", "whole", "--force", "--base-dir", runs)

    assert code == 0, said
    assert views(folder)["hyperparameters.json"] == {}
    assert truth(folder) == before


@pytest.mark.parametrize("name", NAMES)
def test_view_that_tells_otherwise_than_its_run_is_found_and_made_anew(runs, name):
    folder = run_folder(runs, "other")
    view = folder / f"{name}.json"
    right = view.read_bytes()
    view.write_bytes(right.replace(b"0", b"7", 1) if b"0" in right else right + b" ")

    code, said = verify(runs)

    assert code == 0, said  # nothing of the run itself is lost
    assert f"{name}.json differs from the stored data" in said
    assert ntrack("runs", "rebuild", "other", "--base-dir", runs)[0] == 0
    assert view.read_bytes() == right
    assert "differs from the stored data" not in verify(runs)[1]


def test_pipe_in_a_run_folder_holds_up_nobody(runs):
    folder = run_folder(runs, "other")
    for name in ("run.json", "summary.json", "metadata.json"):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    code, listed = ntrack("runs", "ls", "--base-dir", runs)

    assert (code, "whole" in listed) == (0, True), listed
