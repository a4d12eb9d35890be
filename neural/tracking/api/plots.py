"""What a tracker draws of its run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neural.tracking.api.run_view import RunView


class PlotMethods:
    """The drawing half of :class:`~neural.tracking.tracker.ExperimentTracker`."""

    _view: RunView

    def generate_visualizations(self) -> dict[str, Path]:
        """Draw the full set of pictures into the run's ``plots/``; return their paths by name.

        ``all_metrics_individual``, ``all_metrics_combined``, ``metric_correlation`` with two metrics or
        more, ``metric_distributions``; of more than 24 metrics, further pages end with ``_2`` and so on.
        In ``disabled`` mode nothing is drawn and the dict is empty.

        Raises:
            OSError: a picture cannot be written.

        Blocks: a second or two; reads as ``get_metrics`` does, and imports matplotlib.
        """
        return self._view.save_pictures()
