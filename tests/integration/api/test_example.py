"""The example runs its five demonstrations, with the installed backends."""

import subprocess
import sys
from pathlib import Path

import pytest

from neural.tracking import ExperimentManager
from neural.tracking.collector import commands
from tests.patience import wait_until

EXAMPLE = Path(__file__).parents[3] / "examples" / "experiment_tracking_example.py"


@pytest.mark.timeout(1800)
def test_example_s_five_demonstrations_run_and_are_stored(tmp_path):
    base = tmp_path / "runs"
    try:
        done = subprocess.run(
            [sys.executable, str(EXAMPLE), "--base-dir", str(base)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        manager = ExperimentManager(base)
        wait_until(lambda: {run["status"] for run in manager.list_experiments()} == {"completed"})
    finally:
        commands.stop(base, timeout_s=120)

    runs = {run["experiment_name"]: run for run in ExperimentManager(base).list_experiments()}
    names = {"basic", "versioned", "backends", "rate_0.05", "rate_0.5", "rate_2.0", "plotted"}
    assert set(runs) == names
    assert {run["status"] for run in runs.values()} == {"completed"}
    versions = Path(runs["versioned"]["experiment_dir"]) / "versions" / "checkpoint.npy"
    assert len(list(versions.iterdir())) == 5
    assert list(base.glob("comparisons/*/comparison.html"))
