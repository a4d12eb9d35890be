"""What a manager draws of several runs: figures, and a folder to hand on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neural.tracking.figures.run_comparison import Comparison


class ComparisonMethods:
    """The comparing half of :class:`~neural.tracking.manager.ExperimentManager`."""

    _base_dir: Path

    def compare_experiments(
        self,
        ids: str | Iterable[str],
        metrics: str | Sequence[str] | None = None,
        *,
        figsize: tuple[float, float] | None = None,
    ) -> dict[str, Figure]:
        """Return figures that set runs side by side.

        Args:
            ids: the runs' ``experiment_id``, in the order to draw them.
            metrics: default all that any of the runs has, of very many the 48 most telling.
            figsize: inches, of each figure; default: what its content needs.

        Returns:
            ``comparison_<metric>`` for each metric, ``hyperparameter_comparison`` and
            ``best_metrics_comparison``.

        Raises:
            KeyError: there is no such run, or no run has a metric that was asked for.
            AmbiguousRunError: several folders bear one of these ids.
            ValueError: no id was given, or ``figsize`` is not two numbers of inches.
        """
        from neural.tracking.figures.style import check_figsize

        plots = compare(self._base_dir, ids, metrics).plots(check_figsize(figsize))
        return {plot.name: plot.draw() for plot in plots}

    def export_comparison(
        self,
        ids: str | Iterable[str],
        output_dir: str | os.PathLike[str] | None = None,
        metrics: str | Sequence[str] | None = None,
    ) -> Path:
        """Write a comparison into a folder: every figure as PNG, a summary, one page with all of it.

        Args:
            ids, metrics: as ``compare_experiments``.
            output_dir: made if it is not there; default ``<base_dir>/comparisons/comparison_<time>``.

        Returns:
            The folder. ``comparison.html`` in it holds everything and opens offline;
            ``comparison_summary.json`` is for scripts and says which file is which figure.

        Raises:
            KeyError, AmbiguousRunError, ValueError: as ``compare_experiments``.
            OSError: the folder cannot be made or written.
        """
        from neural.tracking.figures.report import comparisons_folder, export

        comparison = compare(self._base_dir, ids, metrics)
        folder = comparisons_folder(self._base_dir) if output_dir is None else Path(output_dir).expanduser()
        return export(comparison, folder)


def compare(base_dir: Path, ids: str | Iterable[str], metrics: str | Sequence[str] | None = None) -> Comparison:
    """Return the comparison of runs of ``base_dir``; raises as ``compare_experiments``."""
    from neural.tracking.figures.run_comparison import Comparison
    from neural.tracking.reader.run_list import list_runs, the_one

    wanted = [ids] if isinstance(ids, str) else list(ids)
    runs = list_runs(base_dir)
    compared = {}
    for one in wanted:
        low = str(one).lower()
        found = the_one(low, [run for run in runs if run.id == low])
        if found is None:
            raise KeyError(f"no run {one!r} in {base_dir}")
        compared[low] = found
    chosen = [metrics] if isinstance(metrics, str) else metrics
    return Comparison(list(compared.values()), chosen)
