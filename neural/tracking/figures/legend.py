"""A legend beside the axes: names cut to fit, with what stands under each in small type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from neural.tracking.figures.style import FAINT
from neural.tracking.figures.texts import shown, told_apart

APART_IN, LINE_IN, NAME_IN = 0.14, 0.32, 0.42
PITCH_IN, TIGHT_IN = 0.38, 0.3


def legend_beside(
    axes: Axes, names: Sequence[tuple[str, str]], looks: Sequence[dict[str, Any]], *, width_in: float
) -> None:
    """Write a name and a remark for each line to the right of the axes, from the top down."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    inches = figure.dpi_scale_trans
    box = axes.get_position()
    pitch = min(PITCH_IN, box.height * figure.get_size_inches()[1] / max(1, len(names)))
    roomy = pitch > TIGHT_IN  # else a line each is all there is room for
    corner = ScaledTranslation(box.x1, box.y1, figure.transFigure)  # type: ignore[arg-type]  # any transform does
    letters = (width_in - APART_IN - NAME_IN) * 72 / 5.4
    told_names = told_apart([name for name, _ in names], letters)
    for place, (name, (_, remark), look) in enumerate(zip(told_names, names, looks, strict=True)):
        at = inches + corner + ScaledTranslation(APART_IN, -pitch * (place + 0.5), inches)
        axes.add_artist(Line2D([0, LINE_IN], [0, 0], **look, linewidth=2.0, clip_on=False, transform=at))
        above = 0.01 if roomy else 0.0
        name_va = "bottom" if roomy else "center"
        axes.text(NAME_IN, above, name, transform=at, fontsize=8.5, va=name_va)
        if roomy:
            told = shown(remark, letters * 1.15)
            axes.text(NAME_IN, -0.025, told, transform=at, fontsize=7, color=FAINT, va="top")
