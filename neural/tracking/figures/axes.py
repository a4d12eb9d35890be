"""Axes: few, round ticks, linear and logarithmic scales, and notes in empty axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.scale import SymmetricalLogScale
from matplotlib.ticker import FixedLocator, Formatter, MaxNLocator, NullLocator

from neural.tracking.figures.style import FAINT
from neural.tracking.figures.texts import MINUS, number, shown, text_width

MAX_TICKS = 6
FINE = 1e5  # ratio of a tick to the distance of ticks: above it, full labels would be too long

_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def linear_axis(axes: Axes, which: str, *, bins: int = 5, steps: bool = False) -> None:
    """Give an axis few, round ticks; ``steps`` for whole numbers. ``which`` is ``x`` or ``y``."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(nbins=bins, integer=steps, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(Steps() if steps else Plain())


def log_axis(axes: Axes, which: str, low: float, high: float) -> None:
    """Make an axis logarithmic from ``low`` to ``high``, both above zero. ``which`` is ``x`` or ``y``."""
    axes.set_xscale("log") if which == "x" else axes.set_yscale("log")
    _fix(axes, which, _decades(low, high))
    axes.set_xlim(low, high) if which == "x" else axes.set_ylim(low, high)


def symlog_axis(axes: Axes, low: float, high: float, threshold: float) -> None:
    """Make the y axis logarithmic on both sides of zero, and linear up to ``threshold`` from zero."""
    axes.set_yscale(SymmetricalLogScale(axes.yaxis, linthresh=threshold))
    inner = threshold * 10  # labels of ticks nearer to zero would overlap the label of zero
    limit = MAX_TICKS // 2 if low < -inner and high > inner else MAX_TICKS - 1
    below = [-tick for tick in _decades(inner, -low, limit)[::-1]] if low < -inner else []
    above = _decades(inner, high, limit) if high > inner else []
    _fix(axes, "y", [*below, 0.0, *above])
    axes.set_ylim(low, high)


def _decades(low: float, high: float, limit: int = MAX_TICKS) -> list[float]:
    """Return a few powers of ten between two values; for less than two decades, also 2 and 5 times a power.

    Matplotlib's locators overflow near the largest and smallest floats.
    """
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first < 2 and limit == MAX_TICKS:
        exponents = range(max(first - 1, -323), min(last, 308) + 1)
        found = {lead * 10.0**exponent for exponent in exponents for lead in (1.0, 2.0, 5.0)}
        return sorted(tick for tick in found if low <= tick <= high)[:limit]
    step = next(step for step in (1, 2, 3, 5, 10, 20, 50, 100, 200, 500) if (last - first) // step < limit)
    start = math.ceil(first / step) * step
    return [10.0**exponent for exponent in range(start, last + 1, step)]


def _fix(axes: Axes, which: str, ticks: Sequence[float]) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(Decades())
    axis.set_minor_locator(NullLocator())


def title_of(figure: Figure, title: str, remark: str = "", *, left: float = 0.62, right: float = 0.22) -> None:
    """Write a figure's title into its upper left corner and a remark in small type into its upper right corner.

    ``left`` and ``right`` are the margins in inches.
    """
    width, height = figure.get_size_inches()
    if title:
        room = (width - left - right) * 72 / 7.8 - text_width(remark) * 0.75
        figure.text(
            left / width, 1 - 0.14 / height, shown(title, room), fontsize=12, fontweight="bold", va="top"
        )
    if remark:
        figure.text(1 - right / width, 1 - 0.18 / height, remark, fontsize=8, color=FAINT, ha="right", va="top")


def beside(axes: Axes, text: str, corner: tuple[int, int], away_pt: float, **style: Any) -> None:
    """Write outside of the axes, ``away_pt`` points above a corner, or below it if that is negative.

    ``corner`` is (0 or 1, 0 or 1): left or right, bottom or top. ``style`` goes to ``Axes.annotate``.
    """
    axes.annotate(
        text,
        corner,
        (0, away_pt),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right" if corner[0] else "left",
        va="bottom" if away_pt > 0 else "top",
        annotation_clip=False,
        **style,
    )


def note_in(axes: Axes, note: str) -> None:
    """Write in the middle of empty axes why they are empty."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.set_facecolor("#f6f8fa")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.text(0.5, 0.5, note, ha="center", va="center", color=FAINT, fontsize=9, transform=axes.transAxes)


def note_figure(note: str, *, title: str = "", figsize: tuple[float, float] | None = None) -> Figure:
    """Return a figure with only a note and a title; ``figsize`` in inches."""
    figure = Figure(figsize=figsize or (8.0, 4.5))
    axes = figure.add_axes((0.05, 0.08, 0.9, 0.8))
    note_in(axes, note)
    title_of(figure, title)
    return figure


class Plain(Formatter):
    """Tick labels of a linear axis: as many digits as the ticks need to differ, and no offset text."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return number(x)

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the labels of all ticks."""
        if len(values) < 2:
            return [number(value) for value in values]
        top = max(abs(value) for value in values)
        apart = min(abs(b - a) for a, b in itertools.pairwise(values)) or top
        if not top or not math.isfinite(top / apart):
            return [number(value) for value in values]
        if top / apart > FINE:
            return self._from_one(
                values, min(15, math.floor(math.log10(top)) - math.floor(math.log10(apart)) + 1)
            )
        fine = math.floor(math.log10(apart) + 1e-9)
        exponent = math.floor(math.log10(top) + 1e-9)
        if -4 <= exponent < 6:
            return [_fixed(value, _decimals(apart, max(0, -fine))) for value in values]
        return [_scientific(value, max(0, exponent - fine)) for value in values]

    def _from_one(self, values: Sequence[float], digits: int) -> list[str]:
        """Write the visible tick with the shortest label in full, and the others as differences from it."""
        low, high = (-math.inf, math.inf) if self.axis is None else sorted(self.axis.get_view_interval())
        seen = [value for value in values if low <= value <= high] or list(values)
        base = min(seen, key=lambda value: len(number(value, digits)))
        away = [(value, number(value - base)) for value in values]
        return [
            number(base, digits) if value == base else f"+{text}" if value > base else text
            for value, text in away
        ]


class Steps(Plain):
    """Tick labels of steps: whole numbers, large ones as 20k or 1.5M."""

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the labels of all ticks, with one unit for all."""
        top = max((abs(value) for value in values), default=0.0)
        if len(values) > 1 and top > FINE * (values[1] - values[0]):
            return super().format_ticks(values)
        for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
            if 10 * size <= top < 1e16 or (top >= size > 1e3):
                shown_ = Plain.format_ticks(self, [value / size for value in values])
                return [
                    "0" if not value else f"{text}{unit}" for value, text in zip(values, shown_, strict=True)
                ]
        return super().format_ticks(values)


class Decades(Formatter):
    """Tick labels of a logarithmic axis: 0.001 to 1000 as decimals, others as powers such as 10⁵."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        if x == 0:
            return "0"
        exponent = math.floor(math.log10(abs(x)) + 1e-9)
        if -4 < exponent < 4:
            return number(x)
        lead = round(abs(x) / 10.0**exponent) if exponent > -300 else 1
        power = f"10{str(exponent).translate(_SUPERSCRIPTS)}"
        return (MINUS if x < 0 else "") + (power if lead == 1 else f"{lead}×{power}")


def _decimals(apart: float, minimum: int) -> int:
    """Return the number of decimals for ticks ``apart`` from each other, e.g. 0.125; at least ``minimum``."""
    for decimals in range(minimum, minimum + 3):
        if abs(round(apart, decimals) - apart) < 1e-6 * apart:
            return decimals
    return minimum


def _fixed(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", MINUS)


def _scientific(value: float, decimals: int) -> str:
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.{min(decimals, 6)}e}".partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}".replace("-", MINUS)
