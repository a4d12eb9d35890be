"""What figures are drawn from: each metric reduced once, so that drawing does not grow with the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from neural.tracking.figures.histogram import FAR, Histogram, histogram
from neural.tracking.figures.ranks import Ranks, band_of
from neural.tracking.figures.reduce import LOOK_POINTS, FloatArray, enveloped, sampled, smoothed, thinned
from neural.tracking.formats.event_stream import Array
from neural.tracking.formats.events import NO_STEP
from neural.tracking.reader.columns import Columns
from neural.tracking.reader.downsample import Downsampled

LOG_SPREAD = 300.0  # between the 5th and the 95th percentile: from here on a linear axis hides most of it
SPIKE = 100.0  # of the 95th percentile: such a value alone makes a linear axis hide the others
LOG_SPAN = 1e9  # between the least and the greatest value


class Point(NamedTuple):
    """One point of a line."""

    x: float
    y: float


class SeriesLine(NamedTuple):
    """Points to join; NaN where the line is interrupted."""

    x: FloatArray
    y: FloatArray


class Band(NamedTuple):
    """Between which values the ranks lie."""

    x: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class Series:
    """One metric, reduced to what figures show of it.

    ``ends``: the first and the last place on the x axis, also where the value there cannot be drawn.
    ``scale`` is ``"linear"``, ``"log"`` or ``"symlog"``: what its range asks for; ``linear_within`` is
    up to where a symlog axis is linear.
    """

    name: str
    points: int
    nan: int
    infinite: int
    has_steps: bool
    ends: tuple[float, float]
    line: SeriesLine
    least: Point | None
    most: Point | None
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
        """Return how many values can be drawn."""
        return self.points - self.nan - self.infinite

    @property
    def constant(self) -> bool:
        """Return whether every value is the same, of every rank."""
        return self.level and (self.band is None or bool(np.all(self.band.low == self.band.high)))

    @property
    def level(self) -> bool:
        """Return whether the line is: the ranks may still differ."""
        return self.least is not None and self.most is not None and self.least.y == self.most.y


def series_of(columns: Columns) -> Series:
    """Return a metric's points, all ranks of them, reduced: one line a rank's, the mean of several.

    ``columns`` are those of ``Run.metric(name, ranks="all")``.
    """
    several = len(columns) > 0 and int(columns.rank.min()) != int(columns.rank.max())
    if not several:
        return _reduced(columns.name, columns.step, columns.value, columns.value)
    ranks, step, mean, low, high = band_of(columns)
    made = _reduced(columns.name, step, mean, columns.value)
    return _with_band(made, Band(*enveloped(step, low, high)), ranks)


def series_of_sifted(found: Downsampled) -> Series:
    """Return a metric of which only some points were kept, as :func:`series_of` would have made it of all."""
    columns, even = found.columns, found.even
    made = series_of(columns)
    thinner = max(1, round(found.points / max(1, len(columns))))
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
        window=made.window if made.window == 1 else made.window * thinner,
    )


def _ends(values: FloatArray) -> FloatArray:
    """Return the least and the greatest of the finite values, for a histogram to reach them."""
    finite = values[np.isfinite(values)]
    return np.array([finite.min(), finite.max()]) if len(finite) else finite


def series_of_history(history: Iterable[Mapping[str, Any]]) -> list[Series]:
    """Return the metrics of a history, in the order in which they first appear.

    Args:
        history: a dict for each log call: ``step``, ``timestamp`` and the metrics, as
            ``metrics_history`` gives it. What is no number is passed over.
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
    """Return the series of a line ``y`` over steps; ``values`` are all of its points, ranks not united."""
    has_steps = bool(len(step)) and int(step.min()) != NO_STEP
    x = step if has_steps else np.arange(len(y))
    known = np.isfinite(values)
    finite = values if known.all() else values[known]
    nan = 0 if finite is values else int(np.count_nonzero(np.isnan(values)))
    scale, within = scale_of(finite)
    back = np.flatnonzero(x[1:] < x[:-1]) + 1  # a restarted training: no line leads back
    smooth = smoothed(np.log10(y) if scale == "log" else y) if not len(back) else None
    return Series(
        name=name,
        points=len(values),
        nan=nan,
        infinite=len(values) - nan - len(finite),
        has_steps=has_steps,
        ends=(float(x.min()), float(x.max())) if len(x) else (0.0, 1.0),
        line=SeriesLine(*thinned(x, y, back)),
        least=_point(x, y, np.argmin, np.inf),
        most=_point(x, y, np.argmax, -np.inf),
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
    """Return averages as values; those of logarithms, since an arithmetic mean would follow the spikes."""
    return np.power(10.0, y) if scale == "log" else y


def _with_band(series: Series, band: Band, ranks: Ranks) -> Series:
    return replace(series, band=band, ranks=ranks)


def _point(x: Array, y: FloatArray, extreme: Any, worst: float) -> Point | None:
    """Return the point at an extreme of the finite values; ``worst`` is what none of them can be."""
    known = np.isfinite(y)
    if not known.any():
        return None
    at = int(extreme(y if known.all() else np.where(known, y, worst)))
    return Point(float(x[at]), float(y[at]))


def _mean(finite: FloatArray) -> float:
    if not len(finite):
        return float("nan")
    top = max(abs(float(finite.min())), abs(float(finite.max()))) or 1.0
    return float(np.mean(finite / top)) * top if top > FAR else float(np.mean(finite))


def scale_of(finite: FloatArray) -> tuple[str, float]:
    """Return the kind of axis the values ask for, and up to where a symlog one is linear."""
    if not len(finite):
        return "linear", 1.0
    low, high = float(finite.min()), float(finite.max())
    look = np.abs(finite[:: max(1, len(finite) // LOOK_POINTS)])
    look = look[look > 0]
    if not len(look):
        return "linear", 1.0
    small, big = np.quantile(look, (0.05, 0.95), method="nearest")
    top = max(abs(low), abs(high))
    far = top > FAR or float(look.max()) < 1 / FAR
    if low > 0:
        wide = len(finite) >= 5 and (big > LOG_SPREAD * small or high > SPIKE * big)
        return "log" if wide or high / low > LOG_SPAN or far else "linear", 1.0
    if far or (len(finite) >= 5 and (big > LOG_SPREAD**2 * small or top > LOG_SPREAD * big)):
        return "symlog", max(float(small), top * 1e-9)
    return "linear", 1.0
