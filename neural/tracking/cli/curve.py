"""The curve of a metric on a terminal, drawn with braille dots: eight in each character."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from neural.tracking.cli import output

if TYPE_CHECKING:
    from neural.tracking.figures.series import Series, SeriesLine

_BLANK = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column within a character


def curve(series: Series, width: int, height: int) -> list[str]:
    """Return the curve of a metric as lines of rich markup, ``width`` characters wide with the axis labels.

    A series of scale ``log`` is drawn on a log scale, with a remark.
    """
    assert series.minimum is not None
    assert series.maximum is not None
    log = series.scale == "log"
    drawn = series.smooth or series.line
    labels = [output.number(float(how(drawn.y))) for how in (np.nanmax, np.nanmin)]
    margin = max(map(len, labels))
    rows = braille(drawn, width - margin - 2, height, log=log, ends=series.ends)
    left = [labels[0], *[""] * (height - 2), labels[1]]
    remarks = ["log"] if log else []
    mean = "geometric mean" if log else "mean"
    remarks += [f"{mean} of {series.window:,} points"] if series.smooth else []
    remark = ", ".join(remarks)
    name = output.text(_cut(series.name, width - 2 - len(remark)))
    lines = [f"[bold]{name}[/]{f' [dim]{remark}[/]' if remark else ''}"]
    lines += [f"[dim]{label:>{margin}} ┤[/][cyan]{row}[/]" for label, row in zip(left, rows, strict=True)]
    first, last = (f"{int(end)}" for end in series.ends)
    word = "step" if series.has_steps else "call"
    gap = width - margin - 2 - len(first) - len(last) - len(word)
    lines.append(f"[dim]{' ' * (margin + 2)}{first}{word:^{max(gap, 0) + len(word)}}{last}[/]")
    return lines


def braille(
    line: SeriesLine, width: int, height: int, *, log: bool = False, ends: tuple[float, float] | None = None
) -> list[str]:
    """Return a line as ``height`` rows of ``width`` braille characters; its gaps have no dots.

    ``ends`` are the x values at the left and the right edge; default: those of the line.
    """
    wide, high = 2 * width, 4 * height
    dots = np.zeros((high, wide), bool)
    known = np.isfinite(line.y)
    if known.any():
        y = np.log10(line.y) if log else line.y / 4  # a quarter: the range of the largest floats would overflow
        low, span = float(np.min(y[known])), float(np.ptp(y[known]))
        x = line.x
        left, right = (float(np.min(x[known])), float(np.max(x[known]))) if ends is None else ends
        across = right - left or 1.0
        column = np.where(known, (x - left) / across * (wide - 1), 0).round().astype(int)
        share = (y - low) / span if span > 0 else np.where(known, 0.5, 0.0)
        row = np.where(known, (1 - share) * (high - 1), 0).round().astype(int)
        dots[row[known], column[known]] = True
        for at in np.flatnonzero(known[1:] & known[:-1]):
            _join(dots, (column[at], row[at]), (column[at + 1], row[at + 1]))
    codes = np.full((height, width), _BLANK)
    for down, pair in enumerate(_DOTS):
        for right, bit in enumerate(pair):
            codes += bit * dots[down::4, right::2]
    return ["".join(map(chr, row)) for row in codes.tolist()]


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width // 2]}…{name[-(width - width // 2 - 1) :]}"


def _join(dots: np.ndarray, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Set the dots on the straight line between two dots."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    if steps > 1:
        way = np.linspace(0, 1, math.ceil(steps) + 1)
        columns = np.round(start[0] + way * (end[0] - start[0])).astype(int)
        rows = np.round(start[1] + way * (end[1] - start[1])).astype(int)
        dots[rows, columns] = True
