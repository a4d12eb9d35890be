"""Writes figures to files. A reader sees the complete old file or the complete new one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from neural.tracking.core.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
FOLDER = "plots"  # of a run: ``plots/<name>.png``
AUTOMATIC = "auto_"  # prefix of the names of plots that the collector draws automatically


def rendered(figure: Figure, kind: str = "png") -> bytes:
    """Return the figure as the content of a file; ``kind`` is png, svg or pdf, else ValueError."""
    from neural.tracking.figures.style import figure_style

    if kind not in FORMATS:
        raise ValueError(f"a plot can be saved as {', '.join(FORMATS)}, not as {kind!r}")
    # No date in the file: the same data give the same bytes.
    metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    options = {"pil_kwargs": {"compress_level": 2}} if kind == "png" else {}
    content = io.BytesIO()
    with figure_style():
        figure.savefig(content, format=kind, metadata=metadata, **options)  # type: ignore[arg-type]
    return content.getvalue()


def save(figure: Figure, path: Path) -> Path:
    """Render the figure in the format of the path's suffix, write it atomically, and return the path.

    Raises:
        ValueError: the suffix is not .png, .svg or .pdf.
        OSError: the file cannot be written; an older file is unchanged.
    """
    atomic_write(path, rendered(figure, path.suffix[1:]), durable=False)
    return path
