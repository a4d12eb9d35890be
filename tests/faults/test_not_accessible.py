"""A run folder that is not accessible for some seconds: what is logged meanwhile arrives completely."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from neural.tracking.collector.artifacts.artifact_store import CLEANUP_EVERY_S
from neural.tracking.errors import TrackingError
from neural.tracking.reader.run import Run
from neural.tracking.reader.run_list import list_runs
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State
from neural.tracking.verify.verify import verify_base
from tests.faults.outcome import only_run, verify, wait_settled
from tests.patience import wait_until

# Root may read every folder, unless it drops this capability.
NO_MORE_THAN_OTHERS = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]


def _is_bound():
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        return None
    tried = subprocess.run([*NO_MORE_THAN_OTHERS, "true"], capture_output=True, check=False)
    return NO_MORE_THAN_OTHERS if tried.returncode == 0 else None


BOUND = _is_bound()
pytestmark = pytest.mark.skipif(BOUND is None, reason="root cannot be kept here from looking everywhere")

VERSIONS = 3
# Stores one version. After `go` it logs others, which cannot be stored yet, and waits for them.
KEEPING = f"""
import time
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker(_os.environ.get("NAME", "keeps"), base_dir)
source = base_dir.parent / _os.environ.get("NAME", "keeps")
def keep(number):
    source.write_bytes(b"%d" % number * 5000)
    tracker.log_artifact(source, "model")
    returned[0] = number
keep(1)
assert tracker.flush(120)
returned[1] = 1
while not go_requested():
    time.sleep(0.01)
for number in range(2, {VERSIONS} + 1):
    keep(number)
tracker.finish(timeout=float(_os.environ.get("FINISH_S", "120")))
"""


def contents(run):
    versions = run.facts.artifacts.versions("model")
    return [(version.version, (run.folder / version.path).read_bytes()) for version in versions]


EXPECTED = [(number, b"%d" % number * 5000) for number in range(1, VERSIONS + 1)]


def held(base_dir):
    """Return the runs whose artifacts wait for their folder, from the collector's status."""
    try:
        return [told["run"] for told in request(State.for_base_dir(base_dir), "status")["artifacts"]["held"]]
    except TrackingError:
        return []


def lived_s(base_dir):
    """Return how long the collector has run; 0 while it does not answer."""
    try:
        return time.time() - request(State.for_base_dir(base_dir), "status")["started_ns"] / 1e9
    except TrackingError:
        return 0.0


def ntrack(*words):
    command = [*BOUND, sys.executable, "-P", "-m", "neural.tracking.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_artifacts_of_a_folder_that_may_not_be_entered_wait_and_others_are_stored(keeper, base_dir):
    harmed = keeper.trainer(base_dir, KEEPING, prefix=BOUND)
    harmed.wait_returned(1, 1)
    folder = only_run(base_dir).folder
    folder.chmod(0)
    harmed.go()
    wait_until(lambda: held(base_dir) == [folder.name], what="the run's artifacts wait")
    other = keeper.trainer(base_dir, KEEPING, prefix=BOUND, environment={"NAME": "other"})
    other.go()
    other.succeed()
    (beside,) = (run for run in list_runs(base_dir) if run.name == "other")
    wait_until(lambda: contents(Run(beside.folder)) == EXPECTED, what="those of the other run are stored")
    assert held(base_dir) == [folder.name]
    told = ntrack("doctor", "--base-dir", str(base_dir)).stdout

    folder.chmod(0o755)
    harmed.succeed()

    assert f"those of {folder.name} wait" in told
    wait_settled(base_dir)
    wait_until(lambda: all(contents(run) == EXPECTED for run in list_runs(base_dir)))
    assert not any(run.artifacts.lost for run in verify_base(base_dir).runs)
    assert verify(base_dir) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_collector_that_ends_meanwhile_leaves_them_to_the_next(keeper, base_dir, number):
    trainer = keeper.trainer(base_dir, KEEPING, prefix=BOUND, environment={"FINISH_S": "0"})
    collector = keeper.collector_of(base_dir)
    trainer.wait_returned(1, 1)
    folder = only_run(base_dir).folder
    folder.chmod(0)
    trainer.go()
    wait_until(lambda: held(base_dir), what="the run's artifacts wait")
    trainer.succeed()
    process = collector.wait_running()
    process.send_signal(number)
    process.wait(120)

    keeper.run_collector(base_dir, prefix=BOUND)
    wait_until(lambda: held(base_dir), what="they wait in the next life")
    wait_until(lambda: lived_s(base_dir) > 2 * CLEANUP_EVERY_S, what="the spool was tidied meanwhile")
    folder.chmod(0o755)

    wait_until(lambda: contents(only_run(base_dir)) == EXPECTED, what="all versions are stored")
    wait_until(lambda: verify(base_dir) == 0)


def test_folder_of_another_user_that_is_no_run_hides_none(keeper, base_dir):
    trainer = keeper.trainer(base_dir, KEEPING, prefix=BOUND)
    trainer.go()
    trainer.succeed()
    (base_dir / "lost+found").mkdir(mode=0)

    told = {words: ntrack(*words.split(), "--base-dir", str(base_dir)) for words in ("runs ls", "verify")}

    assert {done.returncode for done in told.values()} == {0}, told
    assert "keeps" in told["runs ls"].stdout


def test_run_that_may_not_be_looked_into_is_named_and_not_left_out(keeper, base_dir):
    trainer = keeper.trainer(base_dir, KEEPING, prefix=BOUND)
    trainer.go()
    trainer.succeed()
    folder = only_run(base_dir).folder
    folder.chmod(0)

    listed = ntrack("runs", "ls", "--base-dir", str(base_dir))
    folder.chmod(0o755)

    assert listed.returncode == 1
    assert folder.name in listed.stderr
