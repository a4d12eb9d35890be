"""What holds for every test."""

import pytest
from hypothesis import HealthCheck, settings

from neural.tracking.agent import process_hooks
from neural.tracking.api import run_view
from tests.made_runs import Log
from tests.patience import PATIENCE_S

# Their tests share a server or a base_dir that takes long to make; all other tests are independent.
TOGETHER = ("tests/contract/test_mlflow.py", "tests/browser/test_lengthy.py", "tests/browser/test_routes.py")

# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With ``--dist loadgroup`` give each worker one test after the other, and such a file as a whole.

    Not by xdist's own groups: it writes them into the names of tests, where pytest 9.2 does not look.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return file if file in TOGETHER else nodeid

    return Together(config, log)


@pytest.fixture(scope="session", autouse=True)
def patience():
    """Have trackers wait for what they did not see stored yet, however long it takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process_hooks, "TIMEOUT_S", PATIENCE_S)
        patch.setattr(process_hooks, "LAST_TIMEOUT_S", PATIENCE_S)
        patch.setattr(run_view, "BARRIER_S", PATIENCE_S)
        patch.setenv("KUBERNETES_SERVICE_HOST", "none")  # in a container scripts wait longer at their end
        # A thread of MLflow's changes the environment while a request of MLflow's own reads it.
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield


@pytest.fixture
def log(tmp_path):
    """A log made by hand in an empty base_dir."""
    return Log(tmp_path)
