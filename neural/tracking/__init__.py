"""Experiment tracking that never blocks a training, and neither loses nor mixes up its data.

The public names are imported at their first use, so that ``import neural.tracking`` costs little.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from neural.tracking.artifacts.version import ArtifactVersion
    from neural.tracking.comparison_ui import ExperimentComparisonUI, launch_comparison_ui
    from neural.tracking.errors import (
        AmbiguousRunError,
        ArtifactDamagedError,
        CollectorUnreachableError,
        ConfigError,
        DataDamagedError,
        InvalidNameError,
        PayloadTooLargeError,
        RunConflictError,
        SourceChangedError,
        TrackingError,
    )
    from neural.tracking.figures.visualizer import MetricVisualizer
    from neural.tracking.manager import ExperimentManager
    from neural.tracking.tracker import ExperimentTracker

_WHERE = {
    "ExperimentTracker": "tracker",
    "ExperimentManager": "manager",
    "MetricVisualizer": "figures.visualizer",
    "ArtifactVersion": "artifacts.version",
    "ArtifactDamagedError": "errors",
    "SourceChangedError": "errors",
    "ExperimentComparisonUI": "comparison_ui",
    "launch_comparison_ui": "comparison_ui",
    "TrackingError": "errors",
    "AmbiguousRunError": "errors",
    "ConfigError": "errors",
    "DataDamagedError": "errors",
    "InvalidNameError": "errors",
    "PayloadTooLargeError": "errors",
    "RunConflictError": "errors",
    "CollectorUnreachableError": "errors",
}

__all__ = [
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
]


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"neural.tracking.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
