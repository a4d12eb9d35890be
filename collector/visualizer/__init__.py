"""The worker that draws a run's pictures while it is live, and once more when it ended."""

from neural.tracking.collector.visualizer.watch import Visualizer

__all__ = ["Visualizer"]
