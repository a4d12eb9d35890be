"""Any damage of a run folder: if ``ntrack verify`` exits with 0, all reads return the same as before."""

import os
import random
import shutil

import pytest

from neural.tracking.errors import TrackingError
from neural.tracking.reader.run import Run
from tests.faults.harness import flip_bit, rounds
from tests.integration.verify.conftest import ntrack, run_folder

TRUTH = ("run.json", "events-*.jsonl", "ledger-*.json", "metrics/tail-*.seg", "metrics/part-*.parquet")


def files(folder):
    return sorted(path for pattern in TRUTH for path in folder.glob(pattern))


def told(folder):
    """Return everything that a reader can read of a run."""
    run = Run(folder)
    metrics = {name: run.metric(name, ranks="all") for name in sorted(run.metric_names())}
    points = {
        name: [list(map(str, column)) for column in (c.step, c.value, c.seq)] for name, c in metrics.items()
    }
    return points, run.metadata, run.params, run.texts(), str(run.summary()), run.gaps


def remove(path, other, rng):
    path.unlink()


def cut(path, other, rng):
    os.truncate(path, rng.randrange(path.stat().st_size))


def flip(path, other, rng):
    flip_bit(path, rng.randrange(8 * path.stat().st_size))


def blank(path, other, rng):
    """Fill a range with zeros, like a lost page."""
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data))
    data[start : start + 512] = bytes(len(data[start : start + 512]))
    path.write_bytes(data)


def drop_line(path, other, rng):
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    path.write_bytes(b"".join(lines))


def repeat_piece(path, other, rng):
    data = path.read_bytes()
    start = rng.randrange(len(data)) & ~7
    path.write_bytes(data[:start] + data[start : start + 256] + data[start:])


def exchange(path, other, rng):
    shutil.copy(other, path)


def put_beside(path, other, rng):
    name = path.name.replace("-1.", "-5.") if "part-" in path.name else path.name.replace("-", "-0000000")[:40]
    shutil.copy(other, path.with_name(name))


DAMAGES = (remove, cut, flip, blank, drop_line, repeat_piece, exchange, put_beside)


@pytest.fixture(scope="module")
def small(left, tmp_path_factory):
    """Return the small runs, and the data that a reader finds in them."""
    base = tmp_path_factory.mktemp("small")
    for name in ("other", "dead", "live"):
        shutil.copytree(run_folder(left, name), base / run_folder(left, name).name)
    return base, {folder.name: told(folder) for folder in base.iterdir()}


def test_where_verify_says_0_everything_reads_as_before(small, tmp_path):
    base, before = small
    seed = random.getrandbits(32)
    rng = random.Random(seed)
    for number in range(rounds(60, 3000)):
        source = rng.choice(sorted(base.iterdir()))
        folder = tmp_path / f"round-{number}"
        shutil.copytree(source, folder)
        path = rng.choice([path for path in files(folder) if path.stat().st_size])
        other = rng.choice([found for found in base.rglob(f"{path.name.split('-')[0]}*") if found.is_file()])
        damage = rng.choice(DAMAGES)
        damage(path, other, rng)

        code, said = ntrack("verify", folder, "--base-dir", tmp_path / "nothing")

        what = f"seed {seed}, round {number}: {damage.__name__} on {path.name} of {source.name}\n{said}"
        assert code in (0, 3, 6), what
        if code == 0:
            try:
                after = told(folder)
            except TrackingError as error:
                raise AssertionError(what) from error
            assert after == before[source.name], what
        shutil.rmtree(folder)
