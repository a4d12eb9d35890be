"""Fixtures and settings for all tests."""

import pytest
from hypothesis import HealthCheck, settings

from neural.tracking.agent import process_hooks
from neural.tracking.api import run_view
from tests.made_runs import Log
from tests.patience import PATIENCE_S

# Tests of these files share a server or a base_dir that takes long to create. All others are independent.
TOGETHER = ("tests/contract/test_mlflow.py", "tests/browser/test_lengthy.py", "tests/browser/test_routes.py")

# The time of an example depends on how busy the machine is, so Hypothesis must not judge it.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With ``--dist loadgroup`` give each worker one test after the other, or a whole file of ``TOGETHER``.

    xdist's own groups do not work: it writes them into the names of tests, which pytest 9.2 does not parse.
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
    """Have trackers wait until everything is stored, even on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process_hooks, "TIMEOUT_S", PATIENCE_S)
        patch.setattr(process_hooks, "LAST_TIMEOUT_S", PATIENCE_S)
        patch.setattr(run_view, "BARRIER_S", PATIENCE_S)
        patch.setenv("KUBERNETES_SERVICE_HOST", "none")  # in a container, scripts wait longer at their end
        # A telemetry thread of MLflow changes the environment while an MLflow request reads it.
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield


@pytest.fixture
def log(tmp_path):
    """Return a log that a test fills by hand, in an empty base_dir."""
    return Log(tmp_path)
