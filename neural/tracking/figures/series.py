"""The input of all figures: each metric reduced once, so that the cost of drawing does not grow with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from neural.tracking.figures.histogram import LINEAR_LIMIT, Histogram, histogram
from neural.tracking.figures.ranks import Ranks, band_of
from neural.tracking.figures.reduce import STATISTICS_POINTS, FloatArray, enveloped, sampled, smoothed, thinned
from neural.tracking.formats.event_stream import Array
from neural.tracking.formats.events import NO_STEP
from neural.tracking.reader.columns import Columns
from neural.tracking.reader.downsample import Downsampled

LOG_SPREAD = 300.0  # ratio of the 95th to the 5th percentile: above it, a linear axis hides most values
SPIKE = 100.0  # ratio to the 95th percentile: one such value makes a linear axis hide the others
LOG_SPAN = 1e9  # ratio of the maximum to the minimum


class Point(NamedTuple):
    """One point of a line."""

    x: float
    y: float


class SeriesLine(NamedTuple):
    """The points of a line; NaN where the line is interrupted."""

    x: FloatArray
    y: FloatArray


class Band(NamedTuple):
    """The minimum and the maximum over the ranks."""

    x: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class Series:
    """One metric, reduced to what figures show of it.

    ``ends`` are the first and the last position on the x axis, also if the values there cannot be drawn.
    ``scale`` is ``"linear"``, ``"log"`` or ``"symlog"``, chosen by the range of the values. A symlog axis is
    linear between ``-linear_within`` and ``linear_within``.
    """

    name: str
    points: int
    nan: int
    infinite: int
    has_steps: bool
    ends: tuple[float, float]
    line: SeriesLine
    minimum: Point | None
    maximum: Point | None
    last: Point | None
    mean: float
    scale: str
    linear_within: float
    histogram: Histogram | None
    sample: tuple[Array, FloatArray]
    smooth: SeriesLine | None = None
    window: int = 1
    band: Band | None = None
    ranks: Ranks | None = None

    @property
    def finite(self) -> int:
        """The number of values that can be drawn."""
        return self.points - self.nan - self.infinite

    @property
    def constant(self) -> bool:
        """Whether all values of all ranks are the same."""
        return self.level and (self.band is None or bool(np.all(self.band.low == self.band.high)))

    @property
    def level(self) -> bool:
        """Whether the line is horizontal; the values of single ranks may differ."""
        return self.minimum is not None and self.maximum is not None and self.minimum.y == self.maximum.y


def series_of(columns: Columns) -> Series:
    """Return a metric, reduced: the line of its only rank, or the mean of its ranks.

    ``columns`` are the points of all ranks, from ``Run.metric(name, ranks="all")``.
    """
    several = len(columns) > 0 and int(columns.rank.min()) != int(columns.rank.max())
    if not several:
        return _reduced(columns.name, columns.step, columns.value, columns.value)
    ranks, step, mean, low, high = band_of(columns)
    made = _reduced(columns.name, step, mean, columns.value)
    return _with_band(made, Band(*enveloped(step, low, high)), ranks)


def series_of_downsampled(found: Downsampled) -> Series:
    """Return a downsampled metric, reduced; counts and means are those of all its points."""
    columns, even = found.columns, found.even
    made = series_of(columns)
    ratio = max(1, round(found.points / max(1, len(columns))))
    usual = columns.value[even & np.isfinite(columns.value)]
    counted = histogram(np.r_[usual, _ends(columns.value)], made.scale)
    if counted is not None:
        counted = counted._replace(
            counts=np.rint(counted.counts * ((found.points - found.nan - found.infinite) / max(1, len(usual))))
        )
    return replace(
        made,
        points=found.points,
        nan=found.nan,
        infinite=found.infinite,
        mean=found.mean if made.finite else made.mean,
        histogram=counted,
        window=made.window if made.window == 1 else made.window * ratio,
    )


def _ends(values: FloatArray) -> FloatArray:
    """Return the minimum and the maximum of the finite values, so that a histogram includes them."""
    finite = values[np.isfinite(values)]
    return np.array([finite.min(), finite.max()]) if len(finite) else finite


def series_of_history(history: Iterable[Mapping[str, Any]]) -> list[Series]:
    """Return the metrics of a history, in the order in which they first appear.

    Args:
        history: a dict for each log call: ``step``, ``timestamp`` and the metrics, as in
            ``metrics_history``. Values that are not numbers are ignored.
    """
    steps: dict[str, list[int]] = {}
    values: dict[str, list[float]] = {}
    for name, step, value in _entries(history):
        steps.setdefault(name, []).append(step)
        values.setdefault(name, []).append(value)
    return [
        _reduced(name, np.array(steps[name], np.int64), np.array(found), np.array(found))
        for name, found in values.items()
    ]


def _entries(history: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, int, float]]:
    for entry in history:
        step = entry.get("step")
        given = NO_STEP if step is None else int(step)
        for name, value in entry.items():
            if name not in ("step", "timestamp"):
                try:
                    yield str(name), given, float(value)
                except (TypeError, ValueError):
                    continue


def _reduced(name: str, step: npt.NDArray[np.int64], y: FloatArray, values: FloatArray) -> Series:
    """Return the series with the line ``y`` over the steps; ``values`` are the values of all ranks."""
    has_steps = bool(len(step)) and int(step.min()) != NO_STEP
    x = step if has_steps else np.arange(len(y))
    known = np.isfinite(values)
    finite = values if known.all() else values[known]
    nan = 0 if finite is values else int(np.count_nonzero(np.isnan(values)))
    scale, within = scale_of(finite)
    back = np.flatnonzero(x[1:] < x[:-1]) + 1  # the training restarted: no line may lead back
    smooth = smoothed(np.log10(y) if scale == "log" else y) if not len(back) else None
    return Series(
        name=name,
        points=len(values),
        nan=nan,
        infinite=len(values) - nan - len(finite),
        has_steps=has_steps,
        ends=(float(x.min()), float(x.max())) if len(x) else (0.0, 1.0),
        line=SeriesLine(*thinned(x, y, back)),
        minimum=_point(x, y, np.argmin, np.inf),
        maximum=_point(x, y, np.argmax, -np.inf),
        last=Point(float(x[-1]), float(y[-1])) if len(y) else None,
        mean=_mean(finite),
        scale=scale,
        linear_within=within,
        histogram=histogram(finite, scale),
        sample=sampled(x, y),
        smooth=None if smooth is None else SeriesLine(x[smooth[1]].astype(np.float64), _on(scale, smooth[2])),
        window=1 if smooth is None else smooth[0],
    )


def _on(scale: str, y: FloatArray) -> FloatArray:
    """Return the averages as values. On a log scale, logarithms were averaged, which spikes change less."""
    return np.power(10.0, y) if scale == "log" else y


def _with_band(series: Series, band: Band, ranks: Ranks) -> Series:
    return replace(series, band=band, ranks=ranks)


def _point(x: Array, y: FloatArray, extreme: Any, worst: float) -> Point | None:
    """Return the point at an extreme of the finite values; ``worst`` replaces values that are not finite."""
    known = np.isfinite(y)
    if not known.any():
        return None
    at = int(extreme(y if known.all() else np.where(known, y, worst)))
    return Point(float(x[at]), float(y[at]))


def _mean(finite: FloatArray) -> float:
    if not len(finite):
        return float("nan")
    top = max(abs(float(finite.min())), abs(float(finite.max()))) or 1.0
    return float(np.mean(finite / top)) * top if top > LINEAR_LIMIT else float(np.mean(finite))


def scale_of(finite: FloatArray) -> tuple[str, float]:
    """Return the scale that suits the values, and the value up to which a symlog axis is linear."""
    if not len(finite):
        return "linear", 1.0
    low, high = float(finite.min()), float(finite.max())
    some = np.abs(finite[:: max(1, len(finite) // STATISTICS_POINTS)])
    some = some[some > 0]
    if not len(some):
        return "linear", 1.0
    small, big = np.quantile(some, (0.05, 0.95), method="nearest")
    top = max(abs(low), abs(high))
    extreme = top > LINEAR_LIMIT or float(some.max()) < 1 / LINEAR_LIMIT
    if low > 0:
        wide = len(finite) >= 5 and (big > LOG_SPREAD * small or high > SPIKE * big)
        return "log" if wide or high / low > LOG_SPAN or extreme else "linear", 1.0
    if extreme or (len(finite) >= 5 and (big > LOG_SPREAD**2 * small or top > LOG_SPREAD * big)):
        return "symlog", max(float(small), top * 1e-9)
    return "linear", 1.0
