"""Compares several runs for a manager: figures, and a folder that can be passed on."""

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
        """Return figures that compare runs side by side.

        Args:
            ids: the runs' ``experiment_id``, in the order of drawing; a repeated one counts once.
            metrics: default all metrics of any of the runs; of more than 48, those that most runs have.
            figsize: width and height of each figure in inches, at most 200; default: what its content needs.

        Returns:
            ``comparison_<metric>`` for each metric, ``hyperparameter_comparison`` and
            ``best_metrics_comparison``.

        Raises:
            KeyError: there is no such run, or no run has one of ``metrics``.
            AmbiguousRunError: several folders have one of these ids.
            TypeError, ValueError: no id was given, or ``figsize`` is not two numbers of inches.
            DataDamagedError: stored data of a run is damaged.
            OSError: a folder of a run cannot be read.

        Blocks: seconds; reads the runs from the disk and imports matplotlib.
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
        """Write a comparison into a folder: each figure as PNG, a summary, and one page with everything.

        Args:
            ids, metrics: as ``compare_experiments``.
            output_dir: created if it is missing; default ``<base_dir>/comparisons/comparison_<time>``.

        Returns:
            The folder. Its ``comparison.html`` contains everything and opens offline. Its
            ``comparison_summary.json`` is for scripts and maps figures to files.

        Raises:
            OSError: the folder cannot be created or written. All else as ``compare_experiments``.

        Blocks: as ``compare_experiments``.
        """
        from neural.tracking.figures.report import comparisons_folder, export

        comparison = compare(self._base_dir, ids, metrics)
        folder = comparisons_folder(self._base_dir) if output_dir is None else Path(output_dir).expanduser()
        return export(comparison, folder)


def compare(base_dir: Path, ids: str | Iterable[str], metrics: str | Sequence[str] | None = None) -> Comparison:
    """Return the comparison of runs of ``base_dir``; raise as ``compare_experiments``."""
    from neural.tracking.figures.run_comparison import Comparison
    from neural.tracking.reader.run_list import list_runs, only_run

    wanted = [ids] if isinstance(ids, str) else list(ids)
    runs = list_runs(base_dir)
    compared = {}
    for one in wanted:
        low = str(one).lower()
        found = only_run(low, [run for run in runs if run.id == low])
        if found is None:
            raise KeyError(f"no run {one!r} in {base_dir}")
        compared[low] = found
    chosen = [metrics] if isinstance(metrics, str) else metrics
    return Comparison(list(compared.values()), chosen)
