"""The parameters of several runs in a table; those that differ are first and in colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from neural.tracking.figures.axes import note_figure, title_of
from neural.tracking.figures.style import ACCENT, FAINT, GRID, INK, figure_style
from neural.tracking.figures.texts import number, shown

MAX_ROWS = 40
MAX_RUNS = 8
ROW_IN, NAME_IN, CELL_IN = 0.27, 2.7, 1.75
TITLE = "Parameters"
MISSING = object()


def table_rows(parameters: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Any], bool]]:
    """Return rows (name, value or ``MISSING`` of each run, whether values differ), differing rows first."""
    names = sorted({name for one in parameters for name in one})
    rows = []
    for name in names:
        values = [one.get(name, MISSING) for one in parameters]
        rows.append((name, values, any(_is_other(value, values[0]) for value in values[1:])))
    return sorted(rows, key=lambda row: not row[2])


def value_text(value: Any) -> str:
    """Return a parameter's value as text; a dash for ``MISSING``."""
    if value is MISSING:
        return "–"
    if isinstance(value, float):
        return number(value, 6)
    return "none" if value is None else str(value)


def hyperparameters(
    parameters: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    *,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Return a figure of the parameters as a table.

    Args:
        parameters: the flat parameters of each run.
        labels: the name of each run.
        figsize: width and height in inches; default: as large as the table.
    """
    with figure_style():
        all_rows = table_rows(parameters)
        if not all_rows:
            return note_figure("no parameters logged", title=TITLE, figsize=figsize)
        rows, runs = all_rows[:MAX_ROWS], labels[:MAX_RUNS]
        width, height = NAME_IN + CELL_IN * len(runs) + 0.4, ROW_IN * (len(rows) + 1) + 0.75
        figure = Figure(figsize=figsize or (max(width, 6.0), height))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, max(width, 6.0))
        axes.set_ylim(height, 0)
        _write(axes, rows, runs, width)
        title_of(figure, TITLE, _remark(all_rows, len(rows), len(labels), len(runs)), left=0.2)
    return figure


def _write(axes: Axes, rows: Sequence[tuple[str, list[Any], bool]], runs: Sequence[str], width: float) -> None:
    top = 0.6 + ROW_IN / 2
    for column, label in enumerate(runs):
        x = NAME_IN + CELL_IN * column
        axes.text(x, top, shown(label, 21), fontsize=8.5, fontweight="bold", va="center")
    for place, (name, values, differs) in enumerate(rows, 1):
        y = top + ROW_IN * place
        if place % 2:
            axes.add_patch(
                Rectangle((0.12, y - ROW_IN / 2), width - 0.24, ROW_IN, color="#f6f8fa", linewidth=0)
            )
        axes.text(0.2, y, shown(name, 34), fontsize=8.5, color=INK if differs else FAINT, va="center")
        for column, value in enumerate(values[: len(runs)]):
            text = shown(value_text(value), 21)
            style: dict[str, Any] = {"color": ACCENT, "fontweight": "bold"} if differs else {"color": FAINT}
            axes.text(NAME_IN + CELL_IN * column, y, text, fontsize=8.5, va="center", **style)
    axes.hlines(top + ROW_IN / 2, 0.12, width - 0.12, color=GRID, linewidth=1.2)


def _remark(rows: Sequence[tuple[str, list[Any], bool]], shown_: int, runs: int, runs_shown: int) -> str:
    differing = sum(1 for _, _, differs in rows if differs)
    words = [f"{differing} of {len(rows)} differ"]
    words += [f"{shown_} shown"] if shown_ < len(rows) else []
    words += [f"{runs_shown} of {runs} runs"] if runs_shown < runs else []
    return ", ".join(words)


def _is_other(one: Any, other: Any) -> bool:
    """Return whether two values differ. NaN equals NaN, and 1 differs from True."""
    if one is MISSING or other is MISSING:
        return one is not other
    if isinstance(one, bool) != isinstance(other, bool):
        return True
    both_nan = one != one and other != other
    return bool(one != other) and not both_nan
