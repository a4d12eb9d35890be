"""Texts in figures: names with any characters, and numbers in a few characters."""

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
MAX_CUTS = 3
LONGEST_WORD = 8


def shown(text: str, width: float = 1e9) -> str:
    """Return the text, cut in the middle to ``width`` average letters, without characters that no font has."""
    readable = "".join(map(_drawable, text))
    if text_width(readable) <= width:
        return readable
    room = max(width - 1, 4)
    head = _longest(readable, room * 0.5)
    tail = _longest(readable[::-1], room - text_width(head))[::-1]
    return f"{head}…{tail}"


def distinct_texts(names: Sequence[str], width: float) -> list[str]:
    """Return the names as :func:`shown`; those that would be cut to the same text begin where they differ."""
    texts = [shown(name, width) for name in names]
    for _ in range(MAX_CUTS):
        alike: dict[str, set[str]] = {}
        for name, text in zip(names, texts, strict=True):
            alike.setdefault(text, set()).add(name)
        starts = {name: _differing(same) for same in alike.values() if len(same) > 1 for name in same}
        if not starts:
            break
        texts = [
            shown(f"…{name[starts[name] :]}", width) if name in starts else text
            for name, text in zip(names, texts, strict=True)
        ]
    return texts


def _differing(names: Collection[str]) -> int:
    """Return the index of the beginning of the first word in which the names differ."""
    first, last = min(names), max(names)  # a common prefix of these two is a prefix of all names
    pairs = enumerate(zip(first, last, strict=False))
    start = next((place for place, (a, b) in pairs if a != b), min(len(first), len(last)))
    word = re.search(r"[^\W_]+(?:\.[^\W_]*)?$", first[:start])
    return start if word is None or start - word.start() > LONGEST_WORD else word.start()


def text_width(text: str) -> float:
    """Return the approximate width of a text in average letters."""
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
    """Return the character, or its name if no installed font has it; an empty box says less."""
    if ord(char) < 0x250 or ord(char) in _glyphs():
        return char
    if unicodedata.category(char) in ("Mn", "Me", "Cf", "Cc", "Cs"):
        return ""  # joiners and variation selectors are not drawn
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
    """Return a value as text with ``digits`` significant digits."""
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
    """Return a whole number with a thin space between groups of three digits."""
    return f"{int(value):,}".replace(",", "\u2009").replace("-", MINUS)
