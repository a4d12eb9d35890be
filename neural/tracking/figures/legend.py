"""A legend beside the axes: each name, cut to fit, and below it a remark in small type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from neural.tracking.figures.style import FAINT
from neural.tracking.figures.texts import distinct_texts, shown

APART_IN, LINE_IN, NAME_IN = 0.14, 0.32, 0.42
PITCH_IN, TIGHT_IN = 0.38, 0.3


def legend_beside(
    axes: Axes, names: Sequence[tuple[str, str]], styles: Sequence[dict[str, Any]], *, width_in: float
) -> None:
    """Write the (name, remark) of each line to the right of the axes, from the top down.

    ``styles`` are colour and dashes of the lines; ``width_in`` is the width of the legend in inches.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    inches = figure.dpi_scale_trans
    box = axes.get_position()
    pitch = min(PITCH_IN, box.height * figure.get_size_inches()[1] / max(1, len(names)))
    roomy = pitch > TIGHT_IN  # otherwise there is room for the name only
    corner = ScaledTranslation(box.x1, box.y1, figure.transFigure)  # type: ignore[arg-type]  # any transform does
    letters = (width_in - APART_IN - NAME_IN) * 72 / 5.4
    short_names = distinct_texts([name for name, _ in names], letters)
    for place, (name, (_, remark), style) in enumerate(zip(short_names, names, styles, strict=True)):
        at = inches + corner + ScaledTranslation(APART_IN, -pitch * (place + 0.5), inches)
        axes.add_artist(Line2D([0, LINE_IN], [0, 0], **style, linewidth=2.0, clip_on=False, transform=at))
        above = 0.01 if roomy else 0.0
        name_va = "bottom" if roomy else "center"
        axes.text(NAME_IN, above, name, transform=at, fontsize=8.5, va=name_va)
        if roomy:
            short = shown(remark, letters * 1.15)
            axes.text(NAME_IN, -0.025, short, transform=at, fontsize=7, color=FAINT, va="top")
