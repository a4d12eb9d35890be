"""Texts in figures: names that may hold anything, and numbers in a few characters."""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Collection, Sequence

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from neural.tracking.figures.style import fonts

MINUS = "\u2212"
MOST_CUTS = 3
LONGEST_WORD = 8


def shown(text: str, width: float = 1e9) -> str:
    """Return a text that draws in at most ``width`` average letters: cut in the middle, no missing glyphs."""
    readable = "".join(map(_drawable, text))
    if text_width(readable) <= width:
        return readable
    room = max(width - 1, 4)
    head = _longest(readable, room * 0.5)
    tail = _longest(readable[::-1], room - text_width(head))[::-1]
    return f"{head}…{tail}"


def told_apart(names: Sequence[str], width: float) -> list[str]:
    """Return the names as :func:`shown`; those that are cut alike begin where they differ."""
    told = [shown(name, width) for name in names]
    for _ in range(MOST_CUTS):
        alike: dict[str, set[str]] = {}
        for name, text in zip(names, told, strict=True):
            alike.setdefault(text, set()).add(name)
        starts = {name: _differing(same) for same in alike.values() if len(same) > 1 for name in same}
        if not starts:
            break
        told = [
            shown(f"…{name[starts[name] :]}", width) if name in starts else text
            for name, text in zip(names, told, strict=True)
        ]
    return told


def _differing(names: Collection[str]) -> int:
    """Return where the word begins in which names differ first."""
    first, last = min(names), max(names)  # what these have in common, those between have too
    pairs = enumerate(zip(first, last, strict=False))
    start = next((place for place, (a, b) in pairs if a != b), min(len(first), len(last)))
    word = re.search(r"[^\W_]+(?:\.[^\W_]*)?$", first[:start])
    return start if word is None or start - word.start() > LONGEST_WORD else word.start()


def text_width(text: str) -> float:
    """Return about how many average letters wide a text is."""
    return sum(_letter_width(char) for char in text)


def _letter_width(char: str) -> float:
    if unicodedata.combining(char):
        return 0.0
    if unicodedata.east_asian_width(char) in "WF":
        return 1.7
    return (
        1.4 if char in "MWmw@%" else 0.55 if char in "iljtfr.,:;|!'()[] " else 1.15 if char.isupper() else 1.0
    )


def _longest(text: str, width: float) -> str:
    used = 0.0
    for place, char in enumerate(text):
        used += _letter_width(char)
        if used > width:
            return text[:place]
    return text


@functools.lru_cache(maxsize=4096)
def _drawable(char: str) -> str:
    """Return the character, or its name where no font at hand has it: better than an empty box."""
    if ord(char) < 0x250 or ord(char) in _glyphs():
        return char
    if unicodedata.category(char) in ("Mn", "Me", "Cf", "Cc", "Cs"):
        return ""  # joiners and variation selectors draw nothing by themselves
    name = unicodedata.name(char, "")
    if not name or "IDEOGRAPH" in name or "SYLLABLE" in name:
        return f"[{ord(char):X}]"
    return f"[{name.lower()}]"


@functools.cache
def _glyphs() -> frozenset[int]:
    found: set[int] = set()
    for name in fonts():
        found.update(FT2Font(font_manager.findfont(name)).get_charmap())
    return frozenset(found)


def number(value: float, digits: int = 4) -> str:
    """Return a value in a few characters."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else f"{MINUS}∞"
    if digits <= 4 and 1e4 <= abs(value) < 1e7:
        return count(round(value))
    if value == int(value) and abs(value) < 1e4:
        return f"{int(value)}".replace("-", MINUS)
    text = f"{value:.{digits}g}"
    mantissa, e, exponent = text.partition("e")
    return (f"{mantissa}e{int(exponent)}" if e else text).replace("-", MINUS)


def count(value: float) -> str:
    """Return a whole number with thousands apart."""
    return f"{int(value):,}".replace(",", "\u2009").replace("-", MINUS)
