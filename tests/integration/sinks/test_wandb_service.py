"""W&B's service is killed or suspended: everything arrives, and no process is left."""

import contextlib
import os
import signal

import psutil
import pytest

from neural.tracking import ExperimentTracker
from neural.tracking.collector.workers.leftovers import MARK
from tests.contract.wandb_files import is_number, rows

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(1800)]
pytest.importorskip("wandb")


def services(bench):
    """Return the wandb-core processes of this bench's worker, whatever their parent is now."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == f"{bench.state.root}:lab" and "wandb-core" in process.name():
                found.append(process.pid)
    return found


def runs(pid):
    """Return whether the process runs and is not a zombie."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def delivered(bench, run_id):
    """Return the points in W&B's files; a repeated row has the same number."""
    return {
        (row["_step"], name, row["step"], value)
        for row in rows(bench.base / "wandb-files", run_id)
        for name, value in row.items()
        if name != "step" and not name.startswith("_") and is_number(value)
    }


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_service_that_dies_or_stands_still_costs_no_row_and_is_not_left_behind(bench, how):
    (bench.base / "wandb-files").mkdir(parents=True)
    bench.add("lab", "wandb", mode="offline", call_timeout_s=20, folder=bench.base / "wandb-files")
    tracker = ExperimentTracker("train", base_dir=bench.base, auto_visualize=False)
    for step in range(300):
        tracker.log_metrics({"loss": step + 0.5}, step=step)
    bench.until(lambda: services(bench))
    struck = services(bench)
    for pid in struck:
        os.kill(pid, how)

    for step in range(300, 600):
        tracker.log_metrics({"loss": step + 0.5}, step=step)
    assert tracker.finish(timeout=120)

    expected = {(step, "loss", step, step + 0.5) for step in range(600)}
    bench.until(lambda: delivered(bench, tracker.metadata["uid"]) == expected, 200)
    bench.until(lambda: bench.status("lab").lag_events == 0)
    assert bench.status("lab").dead_letters == 0
    bench.until(lambda: bench.status("lab").restarts >= 1)
    bench.until(lambda: not any(runs(pid) for pid in struck))
    bench.ntrack("collector", "stop")
    bench.until(lambda: services(bench) == [])
