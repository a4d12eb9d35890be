"""One colour a run, the same in every chart, readable on light and dark alike."""

from __future__ import annotations

from typing import NamedTuple

# Okabe and Ito's colours, which people with the common colour deficiencies tell apart, and two more
# that differ from them in lightness. The dark ones are the same hues, lifted to stand out on black.
LIGHT = ("#0072B2", "#D55E00", "#009E73", "#B0559A", "#3E9BD0", "#C98500", "#6F5BC8", "#6B7280")
DARK = ("#4DA3E0", "#FF8A4C", "#2FC79B", "#E29BC9", "#8AD0FF", "#F2B83C", "#A99BFF", "#A7B0BD")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


class Theme(NamedTuple):
    """What a figure needs to know of the page's colours."""

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
    """Return a theme, the light one for an unknown name."""
    return THEMES.get(name or "light", THEMES["light"])


def colour(slot: int, theme: Theme) -> str:
    """Return the colour of the run in a slot."""
    return theme.runs[slot % len(theme.runs)]


def dash(slot: int) -> str:
    """Return the dash pattern of the run in a slot: solid until the colours come round."""
    return DASHES[slot // len(LIGHT) % len(DASHES)]


def ink_on(colour: str) -> str:
    """Return black or white: which of them is read better on a colour."""
    return "#ffffff" if _light(colour) < 0.179 else "#000000"


def _light(colour: str) -> float:
    """Return a colour's relative luminance.

    Source: WCAG 2.2.
    """
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
