"""A flipped bit in a log that is the only copy causes an exact gap, or verify reports the damage."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from neural.tracking.errors import CollectorUnreachableError
from neural.tracking.formats import segment
from neural.tracking.reader.run_list import list_runs
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State
from neural.tracking.verify.verify import verify_base
from tests.faults.flips import EMITTED, check_run, leaving
from tests.faults.harness import flip_bit, rounds
from tests.faults.injection import Faults, fail_at
from tests.faults.keeper import Keeper
from tests.patience import wait_until

SESSIONS = 4
AT_ONCE = 4
WORKER = "neural.tracking.collector.workers.worker store"


@pytest.fixture(scope="module")
def only_copy(tmp_path_factory):
    """Return a base_dir whose log is the only copy of what dead processes logged."""
    folder = tmp_path_factory.mktemp("only-copy")
    base_dir, keeper = folder / "runs", Keeper(folder)
    no_store = fail_at(["open"], 1, "EIO", times=0, only=WORKER)
    try:
        assert keeper.trainer(base_dir, leaving(SESSIONS)).wait() == -9
        faults = Faults(folder / "faults").environment(no_store)
        collector = keeper.run_collector(base_dir, environment=faults)
        wait_until(lambda: not any((base_dir / ".ntrack" / "outbox").iterdir()))
        collector.kill()
        collector.wait(120)
    finally:
        keeper.end()
    return base_dir


def settled(base_dir):
    """Return whether every session of the log has ended, and the store has durably applied everything."""
    try:
        told = request(State.for_base_dir(base_dir), "status")
    except CollectorUnreachableError:
        return False
    ended = all(session["state"] == "ended" for session in told["sessions"])
    synced = [worker["synced"] for worker in told["workers"] if worker["holds_log"]]
    return ended and bool(synced) and all(position == told["log"]["durable"] for position in synced)


def segment_of(base_dir):
    """Return the only segment of the log."""
    (path,) = (base_dir / ".ntrack" / "log").glob("*.seg")
    return path


def live_through(keeper, base_dir):
    """Let a collector apply as much of the log as it can, and leave."""
    collector = keeper.run_collector(base_dir)
    wait_until(lambda: settled(base_dir) or collector.poll() is not None)
    collector.terminate()
    collector.wait(120)


def check_flip(keeper, base_dir, bit):
    flip_bit(segment_of(base_dir), bit)

    live_through(keeper, base_dir)

    assert verify_base(base_dir).exit_code == 0
    runs = list_runs(base_dir)
    for run in runs:
        check_run(run)
    assert len(runs) == SESSIONS


@pytest.mark.timeout(3600)
def test_flip_in_a_log_is_an_exact_gap_or_told(keeper, only_copy, tmp_path, rng):
    bits = range(8 * segment_of(only_copy).stat().st_size)
    failed = []

    def one(bit):
        base_dir = shutil.copytree(
            only_copy, tmp_path / str(bit) / "runs", ignore=shutil.ignore_patterns("*.sock")
        )
        try:
            check_flip(keeper, base_dir, bit)
        except Exception as error:  # noqa: BLE001 - told below, with those of the other flips
            failed.append(f"bit {bit % 8} of byte {bit // 8}: {error!r}")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, rng.sample(bits, rounds(8, 300))))

    assert not failed, "\n".join(failed)


def test_session_of_which_nothing_tells_whose_it_was_is_told_by_verify(keeper, only_copy, tmp_path):
    base_dir = shutil.copytree(only_copy, tmp_path / "runs", ignore=shutil.ignore_patterns("*.sock"))
    log = segment_of(base_dir)
    found = segment.scan(log.read_bytes(), bytes.fromhex(log.stem.partition("-")[2]), base=-64, start=64)
    descriptions = [record for record in found if record.kind == segment.SESSION]
    session = bytes(descriptions[0].body[:16])
    for record in descriptions:
        if record.body[:16] == session:
            flip_bit(log, 8 * record.pos + 200)

    live_through(keeper, base_dir)

    report = verify_base(base_dir)
    assert report.exit_code == 6
    assert report.damages == [
        f"log: events 1 to {EMITTED} of session {session.hex()[:8]} arrived, but their run is unknown"
    ]
    assert len(list_runs(base_dir)) == SESSIONS - 1
