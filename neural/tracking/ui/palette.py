"""The colours of runs: the same in every chart, readable on light and on dark."""

from __future__ import annotations

from typing import NamedTuple

# The colours of Okabe and Ito, which people with common colour deficiencies can distinguish, and two more that
# differ from them in lightness. The colours for dark have the same hues with more lightness.
LIGHT = ("#0072B2", "#D55E00", "#009E73", "#B0559A", "#3E9BD0", "#C98500", "#6F5BC8", "#6B7280")
DARK = ("#4DA3E0", "#FF8A4C", "#2FC79B", "#E29BC9", "#8AD0FF", "#F2B83C", "#A99BFF", "#A7B0BD")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


class Theme(NamedTuple):
    """The colours that a figure needs."""

    name: str
    runs: tuple[str, ...]
    ink: str
    faint: str
    grid: str
    paper: str


THEMES = {
    "light": Theme("light", LIGHT, "#1f2933", "#616e7c", "#e7ebef", "#ffffff"),
    "dark": Theme("dark", DARK, "#e4e7eb", "#9aa5b1", "#2b333d", "#161b22"),
}


def theme_named(name: str | None) -> Theme:
    """Return the theme of a name; the light theme for an unknown name or None."""
    return THEMES.get(name or "light", THEMES["light"])


def colour(slot: int, theme: Theme) -> str:
    """Return the colour of the run in a slot."""
    return theme.runs[slot % len(theme.runs)]


def dash(slot: int) -> str:
    """Return the dash pattern of the run in a slot: solid until the colours repeat."""
    return DASHES[slot // len(LIGHT) % len(DASHES)]


def ink_on(colour: str) -> str:
    """Return black or white, whichever is more readable on a colour."""
    return "#ffffff" if _luminance(colour) < 0.179 else "#000000"


def _luminance(colour: str) -> float:
    """Return the relative luminance of a colour.

    Source: WCAG 2.2.
    """
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
