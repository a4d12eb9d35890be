"""What holds for every test."""

import pytest
from hypothesis import HealthCheck, settings

from neural.tracking.agent import process_hooks
from neural.tracking.api import run_view
from tests.made_runs import Log
from tests.patience import PATIENCE_S

# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def patience():
    """Have trackers wait for what they did not see stored yet, however long it takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process_hooks, "TIMEOUT_S", PATIENCE_S)
        patch.setattr(process_hooks, "LAST_TIMEOUT_S", PATIENCE_S)
        patch.setattr(run_view, "BARRIER_S", PATIENCE_S)
        patch.setenv("KUBERNETES_SERVICE_HOST", "none")  # in a container scripts wait longer at their end
        yield


@pytest.fixture
def log(tmp_path):
    """A log made by hand in an empty base_dir."""
    return Log(tmp_path)
