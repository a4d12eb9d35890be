"""The names that a user imports, and the cost of the import."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import neural.tracking

ROOT = Path(__file__).parents[2]
HEAVY = (
    "matplotlib", "pyarrow", "pandas", "dash", "plotly", "zmq", "msgpack", "numpy", "click", "rich",
    "tomlkit", "stamina", "mlflow", "wandb", "tensorboard", "asyncio",
)  # fmt: skip


def test_public_names_are_these():
    assert set(neural.tracking.__all__) == {
        "AmbiguousRunError",
        "ArtifactDamagedError",
        "ArtifactVersion",
        "CollectorUnreachableError",
        "ConfigError",
        "DataDamagedError",
        "ExperimentComparisonUI",
        "ExperimentManager",
        "ExperimentTracker",
        "InvalidNameError",
        "MetricVisualizer",
        "PayloadTooLargeError",
        "RunConflictError",
        "SourceChangedError",
        "TrackingError",
        "__version__",
        "launch_comparison_ui",
    }


@pytest.mark.parametrize("name", neural.tracking.__all__)
def test_public_name_is_there_when_asked_for(name):
    assert getattr(importlib.import_module("neural.tracking"), name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        neural.tracking.no_such_name  # noqa: B018 - reading it is the test


def test_import_brings_nothing_heavy():
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
before = set(sys.modules)
import neural.tracking
brought = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(*sorted(brought & set({HEAVY!r})))
"""

    result = subprocess.run([sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True)

    assert result.stdout.split() == []


def test_version_is_the_distribution_s():
    assert neural.tracking.__version__ == importlib.import_module("importlib.metadata").version(
        "neural-tracking"
    )
