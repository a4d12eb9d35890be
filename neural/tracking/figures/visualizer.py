"""The full set of figures of a run, one after the other; matplotlib is imported with the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from neural.tracking.figures.names import most_telling_first
from neural.tracking.figures.series import Series, series_of_history

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INDIVIDUAL = "all_metrics_individual"
COMBINED = "all_metrics_combined"
CORRELATION = "metric_correlation"
DISTRIBUTIONS = "metric_distributions"
PANELS_A_PAGE = 24
MOST_PAGES = 20


class Picture(NamedTuple):
    """A figure that can be drawn."""

    name: str
    draw: Callable[[], Figure]


class MetricVisualizer:
    """Draws the history of a run; keeps nothing, reads nothing."""

    @staticmethod
    def create_metric_plots(
        metrics_history: Iterable[Mapping[str, Any]], figsize: tuple[float, float] | None = None
    ) -> dict[str, Figure]:
        """Return figures of how the metrics went.

        Args:
            metrics_history: a dict for each log call, ``{"step": 3, "loss": 0.1, …}``, as
                ``tracker.metrics_history`` gives it.
            figsize: inches, of each figure; default: what its content needs.

        Returns:
            ``all_metrics_individual``: a panel for each metric; of more than 24, further pages are
            named ``all_metrics_individual_2`` and so on. ``all_metrics_combined``: all of them over
            each other. ``metric_correlation``, where there are two metrics or more.

        Blocks: the first call imports matplotlib, some 0.3 s.
        """
        from neural.tracking.figures.style import check_figsize

        series = in_order(series_of_history(metrics_history))
        return {
            picture.name: picture.draw() for picture in metric_pictures(series, figsize=check_figsize(figsize))
        }

    @staticmethod
    def create_distribution_plots(
        metrics_history: Iterable[Mapping[str, Any]], figsize: tuple[float, float] | None = None
    ) -> dict[str, Figure]:
        """Return ``metric_distributions``, a histogram of each metric with its mean; pages as above."""
        from neural.tracking.figures.style import check_figsize

        series, checked = in_order(series_of_history(metrics_history)), check_figsize(figsize)
        return {picture.name: picture.draw() for picture in distribution_pictures(series, figsize=checked)}


def in_order(series: Iterable[Series]) -> list[Series]:
    """Return the series with the most telling ones first."""
    by_name = {one.name: one for one in series}
    return [by_name[name] for name in most_telling_first(by_name)]


def all_pictures(
    series: Sequence[Series], *, title: str = "", remark: str = "", pages: int = MOST_PAGES
) -> list[Picture]:
    """Return the full set; nothing is drawn before each is asked for.

    Args:
        series: in the order to draw them.
        title, remark: above each figure.
        pages: at most so many of those that have a panel for each metric.
    """
    told = {"title": title, "remark": remark, "pages": pages}
    return [*metric_pictures(series, **told), *distribution_pictures(series, **told)]  # type: ignore[arg-type]


def metric_pictures(
    series: Sequence[Series],
    *,
    title: str = "",
    remark: str = "",
    figsize: tuple[float, float] | None = None,
    pages: int = MOST_PAGES,
) -> list[Picture]:
    """Return the figures of how the metrics went."""
    from neural.tracking.figures.combined import combined
    from neural.tracking.figures.correlation import correlation
    from neural.tracking.figures.individual import individual

    told = _Told(title, remark, figsize)
    found = _paged(INDIVIDUAL, individual, series, told, pages)
    found.append(Picture(COMBINED, lambda: told.styled(combined, series)))
    if len(series) >= 2:
        found.append(Picture(CORRELATION, lambda: told.styled(correlation, series)))
    return found


def distribution_pictures(
    series: Sequence[Series],
    *,
    title: str = "",
    remark: str = "",
    figsize: tuple[float, float] | None = None,
    pages: int = MOST_PAGES,
) -> list[Picture]:
    """Return the histograms."""
    from neural.tracking.figures.distribution import distributions

    return _paged(DISTRIBUTIONS, distributions, series, _Told(title, remark, figsize), pages)


class _Told(NamedTuple):
    title: str
    remark: str
    figsize: tuple[float, float] | None

    def styled(self, draw: Callable[..., Figure], series: Sequence[Series], page: str = "") -> Figure:
        from neural.tracking.figures.style import house_style

        remark = ", ".join(part for part in (page, self.remark) if part)
        with house_style():
            return draw(series, title=self.title, remark=remark, figsize=self.figsize)


def _paged(
    name: str, draw: Callable[..., Figure], series: Sequence[Series], told: _Told, pages: int
) -> list[Picture]:
    """Return a picture for each page of series; one that says so where there are none."""
    if not series:
        return [Picture(name, lambda: told.styled(_nothing, series))]
    found = []
    starts = range(0, len(series), PANELS_A_PAGE)
    for number, start in enumerate(starts[:pages], 1):
        chosen = series[start : start + PANELS_A_PAGE]
        page = _page(number, start, len(chosen), len(series), min(len(starts), pages))
        # Bound now: the next turn of the loop changes the names.
        found.append(
            Picture(
                name if number == 1 else f"{name}_{number}",
                lambda chosen=chosen, page=page: told.styled(draw, chosen, page),  # type: ignore[misc]
            )
        )
    return found


def _page(number: int, start: int, count: int, total: int, pages: int) -> str:
    if count == total:
        return ""
    which = f"metrics {start + 1} to {start + count} of {total}"
    return which if pages == 1 else f"page {number} of {pages}: {which}"


def _nothing(series: Sequence[Series], **told: Any) -> Figure:
    from neural.tracking.figures.axes import note_figure

    return note_figure("no metrics logged yet", title=told["title"], figsize=told["figsize"])
