"""Turns names and values into ones that a backend accepts, so that people can still read them."""

from __future__ import annotations

import hashlib
import posixpath
import re
from pathlib import Path


def rank_prefix(rank: int) -> str:
    """Return the prefix of a metric's name in a backend without ranks: ``rank_<k>/``; empty for rank 0."""
    return f"rank_{rank}/" if rank else ""


def allowed_name(name: str, forbidden: re.Pattern[str], limit: int) -> str:
    """Return the name if a backend accepts it, else a similar one that it accepts, unique to this name.

    ``forbidden`` matches what becomes ``_``; ``limit`` is the maximum length in characters. A changed name
    ends in ``-`` and 8 hex digits of the original's SHA-256, so that two names never become one.
    """
    changed = forbidden.sub("_", name)
    normal = posixpath.normpath(changed).lstrip("/")
    changed = "_" if normal in (".", "") else re.sub(r"(^|/)\.\.(?=/|$)", r"\1__", normal)
    if changed == name and len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{changed[: limit - 9]}-{digest}"


def cut_text(text: str, limit: int) -> str:
    """Return the text; if it is longer than ``limit`` characters, cut it and end it with a mark."""
    mark = " … [cut]"
    return text if len(text) <= limit else text[: limit - len(mark)] + mark


def png_size(path: Path) -> tuple[int, int] | None:
    """Return width and height of a PNG; None for any other file, or one that cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(24)
    except OSError:
        return None
    if head[:8] != b"\x89PNG\r\n\x1a\n" or len(head) < 24:
        return None
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
