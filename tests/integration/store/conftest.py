"""A log made by hand in an empty base_dir."""

import pytest

from tests.made_runs import Log


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path)
