"""All classes of experiment tracking in one module; each is defined in a file of its own."""

from neural.tracking.artifacts.version import ArtifactVersion
from neural.tracking.comparison_ui import ExperimentComparisonUI
from neural.tracking.figures.visualizer import MetricVisualizer
from neural.tracking.manager import ExperimentManager
from neural.tracking.tracker import ExperimentTracker

__all__ = [
    "ArtifactVersion",
    "ExperimentComparisonUI",
    "ExperimentManager",
    "ExperimentTracker",
    "MetricVisualizer",
]
