"""The full set of plots of a run, drawn one after the other; the first one imports matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from neural.tracking.figures.names import most_informative_first
from neural.tracking.figures.series import Series, series_of_history

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INDIVIDUAL = "all_metrics_individual"
COMBINED = "all_metrics_combined"
CORRELATION = "metric_correlation"
DISTRIBUTIONS = "metric_distributions"
PANELS_PER_PAGE = 24
MAX_PAGES = 20


class Plot(NamedTuple):
    """A named figure that is not drawn yet; ``draw`` draws it."""

    name: str
    draw: Callable[[], Figure]


class MetricVisualizer:
    """Draws the metrics history of a run. It has no state and reads no files."""

    @staticmethod
    def create_metric_plots(
        metrics_history: Iterable[Mapping[str, Any]], figsize: tuple[float, float] | None = None
    ) -> dict[str, Figure]:
        """Return figures of the metrics over the steps.

        Args:
            metrics_history: a dict for each log call, ``{"step": 3, "loss": 0.1, …}``, as in
                ``tracker.metrics_history``.
            figsize: width and height of each figure in inches; default: what its content needs.

        Returns:
            ``all_metrics_individual``: a panel for each metric, 24 for each page; the second page is
            named ``all_metrics_individual_2``, and so on. ``all_metrics_combined``: all metrics on one
            pair of axes. ``metric_correlation``, if there are two metrics or more.

        Raises TypeError or ValueError for a wrong figsize. Blocks: the first call imports matplotlib (about
        0.3 s).
        """
        from neural.tracking.figures.style import check_figsize

        series = in_order(series_of_history(metrics_history))
        return {plot.name: plot.draw() for plot in metric_plots(series, figsize=check_figsize(figsize))}

    @staticmethod
    def create_distribution_plots(
        metrics_history: Iterable[Mapping[str, Any]], figsize: tuple[float, float] | None = None
    ) -> dict[str, Figure]:
        """Return ``metric_distributions``: a histogram of each metric with its mean.

        Arguments, pages and errors are as in :meth:`create_metric_plots`.
        """
        from neural.tracking.figures.style import check_figsize

        series, checked = in_order(series_of_history(metrics_history)), check_figsize(figsize)
        return {plot.name: plot.draw() for plot in distribution_plots(series, figsize=checked)}


def in_order(series: Iterable[Series]) -> list[Series]:
    """Return the series, the most informative metrics first."""
    by_name = {one.name: one for one in series}
    return [by_name[name] for name in most_informative_first(by_name)]


def all_plots(
    series: Sequence[Series], *, title: str = "", remark: str = "", pages: int = MAX_PAGES
) -> list[Plot]:
    """Return the full set of plots; ``draw`` of each draws it.

    Args:
        series: in the order to draw them.
        title, remark: text above each figure.
        pages: maximum number of pages of the plots that have a panel for each metric.
    """
    options = {"title": title, "remark": remark, "pages": pages}
    return [*metric_plots(series, **options), *distribution_plots(series, **options)]  # type: ignore[arg-type]


def metric_plots(
    series: Sequence[Series],
    *,
    title: str = "",
    remark: str = "",
    figsize: tuple[float, float] | None = None,
    pages: int = MAX_PAGES,
) -> list[Plot]:
    """Return the plots of the metrics over the steps, not drawn yet."""
    from neural.tracking.figures.combined import combined
    from neural.tracking.figures.correlation import correlation
    from neural.tracking.figures.individual import individual

    heading = _Heading(title, remark, figsize)
    found = _paged(INDIVIDUAL, individual, series, heading, pages)
    found.append(Plot(COMBINED, lambda: heading.styled(combined, series)))
    if len(series) >= 2:
        found.append(Plot(CORRELATION, lambda: heading.styled(correlation, series)))
    return found


def distribution_plots(
    series: Sequence[Series],
    *,
    title: str = "",
    remark: str = "",
    figsize: tuple[float, float] | None = None,
    pages: int = MAX_PAGES,
) -> list[Plot]:
    """Return the plots of histograms, not drawn yet."""
    from neural.tracking.figures.distribution import distributions

    return _paged(DISTRIBUTIONS, distributions, series, _Heading(title, remark, figsize), pages)


class _Heading(NamedTuple):
    title: str
    remark: str
    figsize: tuple[float, float] | None

    def styled(self, draw: Callable[..., Figure], series: Sequence[Series], page: str = "") -> Figure:
        """Draw the series with this heading, in the style of the package; ``page`` goes before the remark."""
        from neural.tracking.figures.style import figure_style

        remark = ", ".join(part for part in (page, self.remark) if part)
        with figure_style():
            return draw(series, title=self.title, remark=remark, figsize=self.figsize)


def _paged(
    name: str, draw: Callable[..., Figure], series: Sequence[Series], heading: _Heading, pages: int
) -> list[Plot]:
    """Return a plot for each page of series; if there are no series, one plot with a note."""
    if not series:
        return [Plot(name, lambda: heading.styled(_nothing, series))]
    found = []
    starts = range(0, len(series), PANELS_PER_PAGE)
    for number, start in enumerate(starts[:pages], 1):
        chosen = series[start : start + PANELS_PER_PAGE]
        page = _page(number, start, len(chosen), len(series), min(len(starts), pages))
        # The lambda binds its values now: the next iteration changes the variables.
        found.append(
            Plot(
                name if number == 1 else f"{name}_{number}",
                lambda chosen=chosen, page=page: heading.styled(draw, chosen, page),  # type: ignore[misc]
            )
        )
    return found


def _page(number: int, start: int, count: int, total: int, pages: int) -> str:
    if count == total:
        return ""
    which = f"metrics {start + 1} to {start + count} of {total}"
    return which if pages == 1 else f"page {number} of {pages}: {which}"


def _nothing(series: Sequence[Series], **heading: Any) -> Figure:
    from neural.tracking.figures.axes import note_figure

    return note_figure("no metrics logged yet", title=heading["title"], figsize=heading["figsize"])
