"""From a run folder to figures and files: each metric is read, reduced and let go of before the next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neural.tracking.figures.names import most_telling_first
from neural.tracking.figures.saving import save
from neural.tracking.figures.series import Series, series_of, series_of_sifted
from neural.tracking.figures.visualizer import MOST_PAGES, PANELS_A_PAGE, Picture, all_pictures

if TYPE_CHECKING:
    from neural.tracking.reader.run import Run


def read_series(run: Run, names: Sequence[str] | None = None, *, most: int | None = None) -> list[Series]:
    """Return some of a run's metrics, or all, reduced.

    Args:
        run: where from.
        names: in the order to draw them; default: all, the most telling first.
        most: only so many of them.

    Raises:
        FormatError: a part is damaged where the points are.
    """
    chosen = most_telling_first(run.metric_names()) if names is None else list(dict.fromkeys(names))
    return [_series(run, name) for name in chosen[:most]]


def _series(run: Run, name: str) -> Series:
    found = run.downsampled_metric(name)
    return series_of(run.metric(name, ranks="all", timed=False)) if found is None else series_of_sifted(found)


def title_of_run(run: Run) -> str:
    """Return the name and the id of a run, as they stand above its figures."""
    return f"{run.name} · {run.id}"


def run_pictures(run: Run, names: Sequence[str] | None = None, *, pages: int = MOST_PAGES) -> list[Picture]:
    """Return the full set of a run's figures, not yet drawn; raises FormatError as :func:`read_series`."""
    total = len(run.metric_names() if names is None else names)
    series = read_series(run, names, most=pages * PANELS_A_PAGE)
    remark = run.status if len(series) == total else f"{len(series)} of {total} metrics, {run.status}"
    return all_pictures(series, title=title_of_run(run), remark=remark, pages=pages)


def save_pictures(
    pictures: Sequence[Picture], folder: Path, *, kind: str = "png", prefix: str = ""
) -> dict[str, Path]:
    """Draw and save pictures as ``<folder>/<prefix><name>.<kind>``; return their paths by name.

    Raises:
        OSError: one could not be written; those before it are in place.
    """
    folder.mkdir(exist_ok=True)
    return {
        picture.name: save(picture.draw(), folder / f"{prefix}{picture.name}.{kind}") for picture in pictures
    }
