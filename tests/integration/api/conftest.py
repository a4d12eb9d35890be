"""Folders of runs whose collectors end with the tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from neural.tracking import ExperimentTracker
from neural.tracking.collector import commands
from neural.tracking.state.control_client import request
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[3]
STORED_S = PATIENCE_S
LAUNCHER_VARIABLES = (
    "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_RUN_ID", "SLURM_STEP_ID",
    "PMIX_NAMESPACE", "NTRACK_RUN_ID", "NTRACK_MODE", "NTRACK_DIR", "NTRACK_STATE_DIR", "NTRACK_FS",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    """Remove the variables by which a launcher or a user selects runs."""
    for name in LAUNCHER_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def base(tmp_path):
    """Return a folder of runs for one test."""
    folder = tmp_path / "runs"
    yield folder
    if folder.is_dir():
        commands.stop(folder, timeout_s=120)


@pytest.fixture(scope="module")
def shared_base(tmp_path_factory):
    """Return a folder of runs, which with its collector all tests of the module share."""
    folder = tmp_path_factory.mktemp("shared") / "runs"
    yield folder
    if folder.is_dir():
        commands.stop(folder, timeout_s=120)


@pytest.fixture
def run_script(tmp_path):
    """Return a function that runs Python source as a training script and returns the finished process."""

    def run(source, *, check=True, timeout=PATIENCE_S, **environ):
        script = tmp_path / f"script_{len(list(tmp_path.glob('script_*')))}.py"
        script.write_text(source)
        done = subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, **{key: str(value) for key, value in environ.items()}},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def patient_commands(monkeypatch):
    """Let commands wait longer for a collector's answer, for a busy machine."""
    monkeypatch.setitem(request.__kwdefaults__, "timeout_s", PATIENCE_S)


@pytest.fixture
def tracker(shared_base):
    with ExperimentTracker("keeps", shared_base) as made:
        yield made


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(os.urandom(200_000))
    return path


def settled(manager, experiment_id):
    """Return the run if all its artifacts are stored or lost; None before."""
    tracker = manager.get_experiment(experiment_id)
    artifacts = tracker._view.run().facts.artifacts
    return tracker if artifacts.entries and not artifacts.waiting() else None
