"""After a kill at any step of a prune, a version exists or a note says that it was removed."""

import contextlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from neural.tracking.artifacts.sweep import sweep
from neural.tracking.errors import CollectorUnreachableError
from neural.tracking.reader.run_list import list_runs
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State
from neural.tracking.verify.verify import verify_base
from tests.faults.harness import clean_environment
from tests.faults.injection import Faults, kill_at
from tests.faults.keeper import Keeper
from tests.faults.test_artifact_kills import COLLECTOR, KEEPING, kept
from tests.patience import LONG, wait_until

STEPS = ("fdatasync", "fsync", "rename", "unlink", "rmdir")
AT_ONCE, SAMPLE, ANSWER_S = 3, 2, 20.0
NOTE_STEPS = 4  # before the first file is removed: its note in the log, and in the run folder


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Return a base_dir in which all is stored and no collector runs."""
    folder = tmp_path_factory.mktemp("stored")
    keeper = Keeper(folder)
    try:
        keeper.trainer(folder / "runs", KEEPING, environment={"NTRACK_MODE": "offline"}).succeed()
        collector = keeper.run_collector(folder / "runs")
        wait_until(lambda: kept(folder / "runs"))
        collector.terminate()
        assert collector.wait(120) == 0
    finally:
        keeper.end()
    return folder / "runs"


def pruned_under(keeper, stored, folder, faults):
    """Let a collector with these faults prune a copy of the base_dir; return the copy."""
    folder.mkdir()
    base_dir = folder / "runs"
    subprocess.run(["cp", "-a", stored, base_dir], check=True)  # with its hard links
    collector = keeper.run_collector(base_dir, environment=faults)
    ask_to_prune(keeper, base_dir)
    collector.terminate()
    collector.wait(120)
    return base_dir


def ask_to_prune(keeper, base_dir):
    """Send the request to the running collector, which may be killed meanwhile."""
    keeper.collector_of(base_dir).wait_ready()
    (run,) = list_runs(base_dir)
    artifacts = run.facts.artifacts
    doomed = [[e.session, e.seq] for name in artifacts.names() for e in artifacts.versions(name)[:-1]]
    with contextlib.suppress(CollectorUnreachableError):
        request(State.for_base_dir(base_dir), "prune", timeout_s=ANSWER_S, uid=run.uid, versions=doomed)


def prune(base_dir):
    """Prune with the command, which starts a collector if none runs."""
    ntrack = [sys.executable, "-P", "-m", "neural.tracking.cli", "artifacts", "prune", "-n", "1", "-y"]
    command = [*ntrack, "--base-dir", str(base_dir)]
    return subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=False)


@pytest.fixture(scope="module")
def steps(stored, tmp_path_factory):
    """Return number and call of the steps from the note to the last removed file, without a fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    keeper, faults = Keeper(folder), Faults(folder / "faults")
    try:
        recording = faults.environment(record="neural.tracking.collector run", recorded_calls=STEPS)
        pruned_under(keeper, stored, folder / "life", recording)
    finally:
        keeper.end()
    made = [(call, path) for _, call, path in faults.calls()]
    going = [number for number, (_, path) in enumerate(made, 1) if "/versions/" in path]
    return list(range(going[0] - NOTE_STEPS, going[-1] + 2))


@pytest.mark.timeout(1800)
def test_prune_killed_at_a_step_leaves_no_damage_and_the_next_one_ends_it(keeper, stored, steps, tmp_path, rng):
    chosen = steps if LONG else [steps[NOTE_STEPS + 1], *rng.sample(steps, SAMPLE)]

    def one(step):
        faults, rule = Faults(tmp_path / f"faults-{step}"), kill_at(STEPS, step, only=COLLECTOR)
        base_dir = pruned_under(keeper, stored, tmp_path / f"{step}", faults.environment(rule))
        (run,) = list_runs(base_dir)
        damages = verify_base(base_dir).runs[0].artifacts.damages
        assert damages == [], f"killed at step {step}"
        done = prune(base_dir)
        assert done.returncode == 0, done.stdout + done.stderr
        there = {path.name for path in run.folder.glob("versions/*/v*")}
        assert there == {"v5_file", "v2_folder", "v2_folder.manifest.json"}, f"killed at step {step}"
        assert sweep(State.for_base_dir(base_dir).blobs, dry_run=True).blobs == 0
        assert verify_base(base_dir).exit_code == 0
        return bool(faults.fired(rule))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert any(pool.map(one, dict.fromkeys(chosen)))
