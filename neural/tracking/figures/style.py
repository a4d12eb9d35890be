"""The style of all figures: colours, dashes and fonts.

The colours are those of Okabe and Ito ("Color Universal Design", 2008). People with any of the common colour
deficiencies can distinguish them. From the seventh line on, the dash pattern changes, too.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.6, 1.2, 1.6)))
INK, FAINT, PALE, GRID = "#1f2328", "#57606a", "#d0d7de", "#eaeef2"
ACCENT = "#0072B2"
DPI = 120
MAX_INCHES = 200

# The first font is part of matplotlib, so figures are the same everywhere. The others, if they are installed,
# supply the characters that it lacks.
FONTS = (
    "DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "WenQuanYi Zen Hei", "PingFang SC",
    "Hiragino Sans", "Noto Emoji", "Symbola", "Apple Symbols", "Arial Unicode MS",
)  # fmt: skip


@contextlib.contextmanager
def figure_style() -> Iterator[None]:
    """Use the style of this package while the context lasts, whatever matplotlib settings the process has."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_settings())
        yield


def _settings() -> dict[Any, Any]:
    return {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": PALE,
        "axes.labelcolor": FAINT,
        "axes.labelsize": 8,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.xmargin": 0.02,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "xtick.color": PALE,
        "ytick.color": PALE,
        "xtick.labelcolor": FAINT,
        "ytick.labelcolor": FAINT,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "xtick.major.size": 3,
        "ytick.major.size": 0,
        "ytick.minor.size": 0,
        "xtick.minor.size": 0,
        "lines.linewidth": 1.6,
        "lines.solid_capstyle": "round",
        "legend.frameon": False,
        "legend.fontsize": 8,
        "figure.facecolor": "white",
        "savefig.dpi": DPI,
        "font.family": fonts(),
        "font.size": 9,
        "text.color": INK,
        "text.parse_math": False,  # a metric may be called "cost_$"
        "pdf.fonttype": 42,
        "svg.hashsalt": "neural-tracking",
    }


def line_style(number: int) -> dict[str, Any]:
    """Return colour and dashes of line ``number`` of a figure, counted from 0."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[(number // len(COLOURS)) % len(DASHES)],
    }


@functools.cache
def fonts() -> tuple[str, ...]:
    """Return the installed fonts in the order in which matplotlib searches them for a character."""
    known = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in FONTS if name in known) or ("sans-serif",)


def check_figsize(figsize: Any) -> tuple[float, float] | None:
    """Return width and height in inches, or None for None.

    Raises:
        TypeError, ValueError: ``figsize`` is not two numbers above 0 and at most 200.
    """
    if figsize is None:
        return None
    wanted = f"figsize must be (width, height) in inches, each above 0 and at most {MAX_INCHES}"
    try:
        width, height = (float(side) for side in figsize)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{wanted}, not {figsize!r}") from None
    if not (0 < width <= MAX_INCHES and 0 < height <= MAX_INCHES):
        raise ValueError(f"{wanted}, not {figsize!r}")
    return width, height
