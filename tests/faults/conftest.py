"""Fixtures of the fault tests. The report's header lists which tools this machine has."""

import random

import pytest

from tests.faults.disks import needs_namespaces
from tests.faults.injection import needs_strace
from tests.faults.keeper import Keeper
from tests.patience import LONG

# So that failed asserts in these modules show the compared values, as in tests.
pytest.register_assert_rewrite(
    "tests.faults.dropping", "tests.faults.outcome", "tests.faults.remote", "tests.faults.training"
)

from tests.faults.remote import needs_hosts, own_dir, remote  # noqa: E402

__all__ = ["own_dir", "remote"]  # fixtures


def pytest_report_header():
    tools = {"strace": needs_strace, "namespaces": needs_namespaces, "networks": needs_hosts}
    found = [f"{name} {'missing' if mark.args[0] else 'there'}" for name, mark in tools.items()]
    return f"fault tests: {'long' if LONG else 'short'} form, " + ", ".join(found)


def pytest_collection_modifyitems(config, items):
    if LONG:
        return
    long_ones = [item for item in items if item.get_closest_marker("faults_long")]
    config.hook.pytest_deselected(items=long_ones)
    items[:] = [item for item in items if item not in long_ones]


@pytest.fixture
def keeper(tmp_path):
    """Return a keeper, which starts trainings, collectors and other commands; all end with the test."""
    folder = tmp_path / "processes"
    folder.mkdir()
    keeper = Keeper(folder)
    yield keeper
    keeper.end()


@pytest.fixture
def base_dir(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def rng(request):
    """Return a random number generator; the same ``--randomly-seed`` gives the same numbers."""
    seed = random.getrandbits(32)
    request.node.add_report_section("setup", "rng", f"seed {seed}")
    return random.Random(seed)
