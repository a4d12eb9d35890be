"""Figures as files: matplotlib's by ``savefig``; plotly's as HTML and JSON, and as an image if possible."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neural.tracking.core.warn import warn

Writer = Callable[[Path], None]
_warned: set[str] = set()  # reasons why no image could be rendered, one warning for each
_PLOTLY_IMAGES = ("png", "svg", "pdf", "jpg", "jpeg", "webp")


def figure_files(figure: Any, name: str) -> list[tuple[str, Writer]]:
    """Return names and writers of the files of a figure; the first file has the requested format.

    Args:
        figure: of matplotlib or plotly.
        name: its ending chooses the format. Without a known ending, a matplotlib figure becomes PNG; a plotly
            figure becomes HTML and JSON, and PNG if kaleido is installed. If a plotly image cannot be rendered,
            there is a warning, and the result is HTML and JSON.

    Raises:
        TypeError: another kind of figure.

    Blocks: for seconds while kaleido renders a plotly image; the writers render everything else.
    """
    if hasattr(figure, "savefig"):
        return [_matplotlib(figure, name)]
    if hasattr(figure, "write_html") and hasattr(figure, "to_json"):
        return _plotly(figure, name)
    kind = f"{type(figure).__module__}.{type(figure).__qualname__}"
    raise TypeError(f"figure must be matplotlib's or plotly's, not {kind}; save it and log the file")


def _matplotlib(figure: Any, name: str) -> tuple[str, Writer]:
    ending = name.rpartition(".")[2].lower()
    if "." not in name or ending not in figure.canvas.get_supported_filetypes():
        name, ending = f"{name}.png", "png"
    return name, lambda path: figure.savefig(path, format=ending)


def _plotly(figure: Any, name: str) -> list[tuple[str, Writer]]:
    stem, _, ending = name.rpartition(".")
    ending = ending.lower()
    known = stem and ending in ("html", "json", *_PLOTLY_IMAGES)
    if not known:
        stem, ending = name, ""
    html: tuple[str, Writer] = f"{stem}.html", lambda path: _write(path, figure.to_html(include_plotlyjs=True))
    plain: tuple[str, Writer] = f"{stem}.json", lambda path: _write(path, figure.to_json())
    if ending == "html":
        return [html]
    if ending == "json":
        return [plain]
    image = _image(figure, name, ending or "png")
    if image is None:
        return [html, plain]
    shown: tuple[str, Writer] = f"{stem}.{ending or 'png'}", lambda path: _write(path, image)
    return [shown] if ending else [html, plain, shown]


def _image(figure: Any, name: str, ending: str) -> bytes | None:
    """Return an image of a plotly figure; None, with a warning, if it cannot be rendered."""
    if importlib.util.find_spec("kaleido") is None:
        why = "kaleido is not installed"
    else:
        try:
            return bytes(figure.to_image(format=ending))
        except Exception as error:  # noqa: BLE001 - a missing or crashing browser must not end a training
            why = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if why not in _warned:
        _warned.add(why)
        warn("plotly figure %s was stored as HTML and JSON, not as an image: %s", name, why)
    return None


def _write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
