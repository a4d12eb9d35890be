"""How names and values become what a backend takes: rules that lose nothing and that people can read back."""

from __future__ import annotations

import hashlib
import posixpath
import re
from pathlib import Path


def rank_prefix(rank: int) -> str:
    """Return what stands before a metric's name where backends know no ranks: nothing for rank 0."""
    return f"rank_{rank}/" if rank else ""


def allowed_name(name: str, forbidden: re.Pattern[str], limit: int) -> str:
    """Return the name if a backend takes it; else one that it takes, unique to this name.

    What is forbidden becomes ``_``; a name that had to change ends in ``-`` and 8 hex digits of the
    original's SHA-256, so that two of them never meet.
    """
    changed = forbidden.sub("_", name)
    normal = posixpath.normpath(changed).lstrip("/")
    changed = "_" if normal in (".", "") else re.sub(r"(^|/)\.\.(?=/|$)", r"\1__", normal)
    if changed == name and len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{changed[: limit - 9]}-{digest}"


def cut_text(text: str, limit: int) -> str:
    """Return the text, its end replaced by a mark where it is over ``limit`` characters."""
    mark = " … [cut]"
    return text if len(text) <= limit else text[: limit - len(mark)] + mark


def png_size(path: Path) -> tuple[int, int] | None:
    """Return width and height of a PNG, None of anything else, or of what is gone."""
    try:
        with path.open("rb") as file:
            head = file.read(24)
    except OSError:
        return None
    if head[:8] != b"\x89PNG\r\n\x1a\n" or len(head) < 24:
        return None
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
