"""From a run folder to figures and files. Each metric is read, reduced and freed before the next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neural.tracking.figures.names import most_informative_first
from neural.tracking.figures.saving import save
from neural.tracking.figures.series import Series, series_of, series_of_downsampled
from neural.tracking.figures.visualizer import MAX_PAGES, PANELS_PER_PAGE, Plot, all_plots

if TYPE_CHECKING:
    from neural.tracking.reader.run import Run


def read_series(run: Run, names: Sequence[str] | None = None, *, limit: int | None = None) -> list[Series]:
    """Return some or all metrics of a run, reduced. Blocks while it reads them from the run folder.

    Args:
        run: the run to read.
        names: in the order to draw them; default: all, the most informative first.
        limit: the maximum number of metrics.

    Raises:
        FormatError: a part with points of these metrics is damaged.
    """
    chosen = most_informative_first(run.metric_names()) if names is None else list(dict.fromkeys(names))
    return [_series(run, name) for name in chosen[:limit]]


def _series(run: Run, name: str) -> Series:
    found = run.downsampled_metric(name)
    return (
        series_of(run.metric(name, ranks="all", timed=False)) if found is None else series_of_downsampled(found)
    )


def title_of_run(run: Run) -> str:
    """Return the name and the id of a run, as the title of its figures."""
    return f"{run.name} · {run.id}"


def run_plots(run: Run, names: Sequence[str] | None = None, *, pages: int = MAX_PAGES) -> list[Plot]:
    """Return the full set of plots of a run, not drawn yet. Reads the metrics as :func:`read_series` does."""
    total = len(run.metric_names() if names is None else names)
    series = read_series(run, names, limit=pages * PANELS_PER_PAGE)
    remark = run.status if len(series) == total else f"{len(series)} of {total} metrics, {run.status}"
    return all_plots(series, title=title_of_run(run), remark=remark, pages=pages)


def save_plots(plots: Sequence[Plot], folder: Path, *, kind: str = "png", prefix: str = "") -> dict[str, Path]:
    """Draw the plots and save them as ``<folder>/<prefix><name>.<kind>``; return their paths by name.

    Raises:
        OSError: a file cannot be written; the files before it are complete.
    """
    folder.mkdir(exist_ok=True)
    return {plot.name: save(plot.draw(), folder / f"{prefix}{plot.name}.{kind}") for plot in plots}
