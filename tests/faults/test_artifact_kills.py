"""Artifacts are complete or absent after training, store or collector is killed at any step."""

import shutil
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from neural.tracking.artifacts.check import Checker
from neural.tracking.artifacts.report import check_artifacts
from neural.tracking.artifacts.sweep import sweep
from neural.tracking.reader.run_list import list_runs
from neural.tracking.state import artifact_jobs
from neural.tracking.state.paths import State
from neural.tracking.state.spool import size_bytes
from neural.tracking.verify.verify import verify_base
from tests.faults.disks import needs_namespaces
from tests.faults.harness import rounds
from tests.faults.injection import Faults, fail_at, kill_at
from tests.faults.keeper import Keeper
from tests.faults.outcome import verify
from tests.faults.training import delivered
from tests.patience import LONG, wait_until

COLLECTOR, WORKER = "neural.tracking.collector run", "neural.tracking.collector.workers.worker store"
STORING = ("fdatasync", "fsync", "rename", "unlink", "link")
TAKING = ("open", "link", "rename", "unlink")
SAMPLE, AT_ONCE = 5, 4
FILES = 5

# Two equal files, then a folder, then a file that is replaced.
KEEPING = f"""
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("keeps", base_dir)
source = base_dir.parent / "source"
for i in range({FILES}):
    source.write_bytes(b"%d" % min(i, {FILES - 2}) * 5000)
    tracker.log_artifact(source, "file")
    tracker.log_artifact(source, "current", version=False)
folder = base_dir.parent / "folder"
(folder / "deep").mkdir(parents=True)
(folder / "a").write_bytes(b"a" * 5000)
(folder / "deep" / "b").write_bytes(b"b" * 5000)
for i in range(2):
    tracker.log_artifact(folder)
tracker.finish(timeout=0)
"""


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    """Return a base_dir in which a training left its outbox and all its snapshots."""
    folder = tmp_path_factory.mktemp("waiting")
    trainer = Keeper(folder).trainer(folder / "runs", KEEPING, environment={"NTRACK_MODE": "offline"})
    trainer.succeed()
    return folder / "runs"


@pytest.fixture(scope="module")
def calls(waiting, tmp_path_factory):
    """Return the number of steps of collector and store without a fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    keeper, faults = Keeper(folder), Faults(folder / "faults")
    base_dir = shutil.copytree(waiting, folder / "runs")
    recording = faults.environment(record="neural.tracking", recorded_calls=STORING)
    collector = keeper.run_collector(base_dir, environment=recording)
    try:
        wait_until(lambda: kept(base_dir))
        worker = next(iter(keeper.collector_of(base_dir).workers())).pid
        collector.terminate()
        assert collector.wait(120) == 0
    finally:
        keeper.end()
    pids = [pid for pid, _, _ in faults.calls()]
    return {COLLECTOR: pids.count(collector.pid), WORKER: pids.count(worker)}


def kept(base_dir):
    """Return whether nothing is pending in outbox, log, spool and jobs."""
    state = State.for_base_dir(base_dir)
    return delivered(base_dir) and not artifact_jobs.waiting(state) and not list(state.spool.glob("*"))


def assert_complete(base_dir):
    """Assert that everything that the training kept is stored once, in order, and nothing else."""
    (run,) = list_runs(base_dir)
    report = check_artifacts(run.folder, Checker())
    assert (report.damages, report.lost, report.waiting) == ([], [], [])
    artifacts = run.facts.artifacts
    files = [(run.folder / e.path).read_bytes()[:1] for e in artifacts.versions("file")]
    assert files == [b"%d" % min(i, FILES - 2) for i in range(FILES)]
    assert len(artifacts.versions("folder")) == 2
    assert (run.folder / "artifacts" / "current").read_bytes()[:1] == b"%d" % (FILES - 2)
    named = {(run.folder / e.path).name for name in artifacts.names() for e in artifacts.versions(name)}
    there = {path.name for path in run.folder.glob("versions/*/v*") if not path.name.endswith(".manifest.json")}
    assert there == named, "a version that no note names, or the other way round"
    assert [path for part in ("versions", "artifacts") for path in (run.folder / part).rglob(".tmp-*")] == []
    blobs = State.for_base_dir(base_dir).blobs
    assert [path for path in blobs.glob(".tmp-*")] == []
    sweep(blobs)
    assert check_artifacts(run.folder, Checker()).damages == []
    assert sweep(blobs, dry_run=True).blobs == 0
    assert verify_base(base_dir).exit_code == 0


def survives(keeper, base_dir, only, step):
    """Kill at the step, start again, check everything; return whether the step was reached."""
    faults, rule = Faults(base_dir.parent / "faults"), kill_at(STORING, step, only=only)
    collector = keeper.run_collector(base_dir, environment=faults.environment(rule))
    wait_until(lambda: collector.poll() is not None or kept(base_dir))
    collector.terminate()
    assert collector.wait(120) in (0, -signal.SIGKILL)
    if only == COLLECTOR and faults.fired(rule):
        collector = keeper.run_collector(base_dir)
        wait_until(lambda: kept(base_dir))
        collector.terminate()
        assert collector.wait(120) == 0
    assert_complete(base_dir)
    return bool(faults.fired(rule))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("only", [COLLECTOR, WORKER], ids=["collector", "worker"])
def test_killed_before_a_step_the_next_life_makes_it_good(keeper, waiting, calls, tmp_path, rng, only):
    steps = range(1, calls[only] + 1)
    chosen = steps if LONG else sorted(rng.sample(steps, SAMPLE))
    reached, failed = [], []

    def one(step):
        base_dir = shutil.copytree(waiting, tmp_path / f"{step}" / "runs")
        try:
            reached.append(survives(keeper, base_dir, only, step))
        except Exception as error:  # noqa: BLE001 - told below, with those of the other steps
            failed.append(f"killed at step {step} of {calls[only]}: {error!r}")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, chosen))

    assert not failed, "\n".join(failed)
    assert any(reached)


MOVING = """
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("keeps", base_dir)
for i in range(4):
    source = base_dir.parent / f"source-{i}"
    source.write_bytes(b"%d" % i * 5000)
    tracker.log_artifact(source, "copied")
    tracker.log_artifact(source, "moved", move=True)
    returned[0] = i + 1
tracker.finish(timeout=0)
"""


def test_trainer_killed_in_a_call_leaves_a_whole_version_or_none(keeper, tmp_path, rng):
    steps = range(1, len(taking(keeper, tmp_path)) + 1)

    def one(step):
        base_dir = tmp_path / f"{step}" / "runs"
        faults, rule = Faults(base_dir.parent / "faults"), kill_at(TAKING, step, only="trainer-")
        environment = {"NTRACK_MODE": "offline", **faults.environment(rule)}
        trainer = keeper.trainer(base_dir, MOVING, environment=environment)
        trainer.wait(120)
        if (base_dir / ".ntrack").is_dir():  # otherwise it had not started yet
            check_what_a_killed_call_left(keeper, base_dir, trainer.returned())

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, steps if LONG else sorted(rng.sample(steps, 4))))


def taking(keeper, tmp_path):
    """Return the steps of a training without a fault."""
    faults = Faults(tmp_path / "faults")
    recording = faults.environment(record="trainer-", recorded_calls=TAKING)
    trainer = keeper.trainer(
        tmp_path / "undisturbed" / "runs", MOVING, environment={"NTRACK_MODE": "offline", **recording}
    )
    trainer.succeed()
    return [call for pid, call, _ in faults.calls() if pid == trainer.pid]


def check_what_a_killed_call_left(keeper, base_dir, returned):
    state = State.for_base_dir(base_dir)
    collector = keeper.run_collector(base_dir)
    wait_until(lambda: not list(state.outbox.glob("[0-9a-f]*")) and not size_bytes(state.spool))
    wait_until(lambda: verify_base(base_dir).exit_code == 0)
    (run,) = list_runs(base_dir)
    stored = {}
    for name in ("copied", "moved"):
        contents = [(run.folder / e.path).read_bytes() for e in run.facts.artifacts.versions(name)]
        assert contents == [b"%d" % i * 5000 for i in range(len(contents))]
        assert len(contents) >= returned
        stored[name] = len(contents)
    # The file of the interrupted call is gone only if it is stored.
    source = base_dir.parent / f"source-{returned}"
    assert stored["moved"] > returned or source.exists() or stored["copied"] <= returned
    assert check_artifacts(run.folder, Checker()).damages == []
    collector.terminate()
    collector.wait(120)


COPYING = """
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("keeps", base_dir)
source = base_dir.parent / "source"
source.write_bytes(bytes(64 << 20))
ready()
while True:
    tracker.log_artifact(source, "big")
    returned[0] += 1
"""


def test_trainer_killed_while_it_copies_leaves_nothing_half(keeper, base_dir, rng):
    state = State.for_base_dir(base_dir)
    for _ in range(rounds(1, 10)):
        trainer = keeper.trainer(base_dir, COPYING)
        trainer.wait_ready()
        returned = trainer.kill_within(0.1, 0.5, rng)

        wait_until(lambda: kept(base_dir))
        newest = list_runs(base_dir)[0]
        assert len(newest.facts.artifacts.versions("big")) in (returned, returned + 1)
        assert check_artifacts(newest.folder, Checker()).damages == []
    assert size_bytes(state.spool) == 0
    assert verify_base(base_dir).exit_code == 0


FILLING = """
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("keeps", base_dir)
outside = _pathlib.Path(_sys.argv[0]).parent
(outside / "big").write_bytes(bytes(64 << 20))
(outside / "small").write_bytes(b"small")
big = tracker.log_artifact(outside / "big")
tracker.log_metrics({"loss": 1.0}, step=1)
small = tracker.log_artifact(outside / "small")
returned[1] = big.lost == "disk_full" and big.version is None
returned[2] = small.wait(120) and small.version
returned[3] = tracker.finish(timeout=120)
"""


@needs_namespaces
def test_disk_that_fills_loses_that_artifact_with_a_reason_and_nothing_else(keeper, base_dir):
    disk = keeper.small_disk(base_dir, 48 << 20)

    trainer = keeper.trainer(base_dir, FILLING, disk=disk)
    trainer.succeed()

    assert [trainer.returned(slot) for slot in (1, 2, 3)] == [1, 1, 1]
    (run,) = list_runs(disk.outside(base_dir))
    assert [(e.name, e.lost) for e in run.facts.artifacts.lost()] == [("big", "disk_full")]
    assert verify(base_dir, disk) == 0


@needs_namespaces
def test_file_left_in_place_that_finds_no_room_waits_and_later_ones_are_stored(keeper, base_dir):
    disk = keeper.small_disk(base_dir, 48 << 20)
    body = FILLING.replace('log_artifact(outside / "big")', 'log_artifact(outside / "big", snapshot=False)')
    body = body.replace('big.lost == "disk_full" and big.version is None', "big.lost is None")

    trainer = keeper.trainer(base_dir, body.replace("timeout=120", "timeout=1"), disk=disk)
    trainer.succeed()

    assert [trainer.returned(slot) for slot in (1, 2, 3)] == [1, 1, 0]
    (run,) = list_runs(disk.outside(base_dir))
    assert [e.name for e in run.facts.artifacts.waiting()] == ["big"]
    assert "of them are reserved" in State.for_base_dir(disk.outside(base_dir)).daemon_log.read_text()
    assert verify(base_dir, disk) == 3


def test_no_room_at_any_step_of_storing_is_tried_again_and_all_is_stored(keeper, waiting, tmp_path, rng):
    calls = ("link", "mkdir", "rename") if LONG else ("link",)  # only the store makes links
    steps = range(1, 40 if LONG else 15)

    def one(step):
        base_dir = shutil.copytree(waiting, tmp_path / f"full-{step}" / "runs")
        faults = Faults(base_dir.parent / "faults")
        rule = fail_at(calls, step, "ENOSPC", times=2, only=COLLECTOR)
        collector = keeper.run_collector(base_dir, environment=faults.environment(rule))
        wait_until(lambda: collector.poll() is not None or kept(base_dir))
        if collector.poll() is not None:  # a collector without space at its start reports that and exits
            collector = keeper.run_collector(base_dir)
            wait_until(lambda: kept(base_dir))
        collector.terminate()
        assert collector.wait(120) == 0
        assert_complete(base_dir)
        return bool(faults.fired(rule))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert any(pool.map(one, steps if LONG else sorted(rng.sample(steps, 4))))


def test_job_that_a_killed_collector_had_done_but_for_the_job_itself_is_over(keeper, waiting, tmp_path):
    base_dir, state = shutil.copytree(waiting, tmp_path / "runs"), State.for_base_dir(tmp_path / "runs")
    first = keeper.run_collector(base_dir)
    wait_until(lambda: kept(base_dir))
    first.terminate()
    first.wait(120)
    (run,) = list_runs(base_dir)
    entry = run.facts.artifacts.entries[0]
    place = (run.uid, run.folder.name, entry.session, entry.seq, entry.time_ns)
    artifact_jobs.write(
        state, artifact_jobs.make(*place, {"host": "elsewhere"}, entry.call)
    )  # no process will upload its bytes again

    keeper.run_collector(base_dir)

    wait_until(lambda: not artifact_jobs.waiting(state))
    assert_complete(base_dir)
