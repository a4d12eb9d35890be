"""Writes figures into files so that a reader sees the old picture or the new one, never half of one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from neural.tracking.core.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
FOLDER = "plots"  # of a run: ``plots/<name>.png``
AUTOMATIC = "auto_"  # in front of the name of what was drawn without being asked for


def rendered(figure: Figure, kind: str = "png") -> bytes:
    """Return the figure as a file's content; ``kind`` is png, svg or pdf."""
    from neural.tracking.figures.style import house_style

    if kind not in FORMATS:
        raise ValueError(f"a picture is saved as {', '.join(FORMATS)}, not as {kind!r}")
    # No date in the file: the same data give the same bytes.
    metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    options = {"pil_kwargs": {"compress_level": 2}} if kind == "png" else {}
    content = io.BytesIO()
    with house_style():
        figure.savefig(content, format=kind, metadata=metadata, **options)  # type: ignore[arg-type]
    return content.getvalue()


def save(figure: Figure, path: Path) -> Path:
    """Render the figure in the format its name ends with and put it in place atomically; return the path.

    Raises:
        OSError: it cannot be written; what was there before is unchanged.
    """
    atomic_write(path, rendered(figure, path.suffix[1:]), durable=False)
    return path
