"""Makes text of users safe for figures, CSV and links. React escapes all other text."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import urlsplit

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def for_plot(text: str, limit: int = 80) -> str:
    """Return text for a label of a figure, cut to ``limit`` characters, with HTML escaped."""
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def csv_cell(value: Any) -> str:
    """Return a value for a CSV file; text that a spreadsheet would take for a formula begins with ``'``."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    return "'" + text if text.startswith(_FORMULA_STARTS) else text


def web_link(text: Any) -> str | None:
    """Return the text if it is an http or https address, else None; never ``javascript:`` and the like."""
    if not isinstance(text, str) or len(text) > 2000:
        return None
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        return None
    return text.strip() if parts.scheme in ("http", "https") and parts.netloc else None


def number(value: Any) -> str:
    """Return a number as text with four significant digits; a dash for None and an empty text."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return str(value)
    try:
        found = float(value)
    except ValueError:
        return str(value)
    if isinstance(value, int) or (found.is_integer() and abs(found) < 1e6):
        return f"{int(found):,}"
    if not math.isfinite(found):
        return "NaN" if math.isnan(found) else "∞" if found > 0 else "-∞"
    return f"{found:.4g}"


def value(found: Any) -> str:
    """Return the value of a parameter as text."""
    if isinstance(found, float):
        return f"{found:.6g}"
    if found is None or isinstance(found, bool):
        return str(found).lower()  # as in the filter
    return str(found)


def duration(seconds: float | None) -> str:
    """Return a duration in its two largest units; a dash for None."""
    if seconds is None:
        return "–"
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if whole < 10 else f"{whole} s"
    for size, unit, small, rest in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            left = whole % size // small
            return f"{whole // size} {unit}" + (f" {left} {rest}" if left else "")
    raise AssertionError("unreachable")


def size(count: int) -> str:
    """Return a number of bytes in B, KiB, MiB, GiB or TiB."""
    found = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if found < 1024:
            return f"{int(found)} B" if unit == "B" else f"{found:.1f} {unit}"
        found /= 1024
    return f"{found:.1f} TiB"
