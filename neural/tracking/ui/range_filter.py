"""Turns a range on an axis of the parallel coordinates into a condition of the filter, and removes it again.

A dragged range becomes text in the filter. So it can also be typed with the keyboard, and the URL contains it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypedDict

from neural.tracking.ui.data.query import OWN_NAMES

_BOUND = r"[-+.\w]+"
_NEAR = 0.15  # a selection that ends so near to an axis includes it; 1 is the distance of two axes


class Axis(TypedDict):
    """An axis as the browser stores it; ``words`` are (height, literal in the filter), empty for numbers."""

    name: str
    low: float
    span: float
    log: bool
    words: list[tuple[float, str]]


def reference(name: str) -> str:
    """Return the name of a parameter in the filter's grammar; empty if the grammar has none."""
    if "`" in name:
        return ""
    return f"`params.{name}`" if name in OWN_NAMES else f"`{name}`"


def literal(value: Any) -> str:
    """Return a value as a literal of the filter's grammar; empty if the grammar has none."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if not isinstance(value, str) or ('"' in value and "'" in value):
        return ""
    return f"'{value}'" if '"' in value else f'"{value}"'


def narrowed(where: str, axes: Sequence[Axis], box: dict[str, Sequence[float]]) -> str:
    """Return the filter ``where`` with the conditions of a box in place of older ones of the same axes."""
    left, right = sorted(box["x"])
    bottom, top = sorted(box["y"])
    touched = [axis for place, axis in enumerate(axes) if left - _NEAR <= place <= right + _NEAR]
    for axis in touched:
        if axis["name"]:
            parts = (_without(where, axis["name"]), _condition(axis, bottom, top))
            where = " and ".join(part for part in parts if part)
    return where


def _condition(axis: Axis, bottom: float, top: float) -> str:
    name = axis["name"]
    if axis["words"]:
        inside = [word for height, word in axis["words"] if bottom <= height <= top]
        if len(inside) == len(axis["words"]) or not all(inside):
            return ""
        return "(" + " or ".join(f"{name} == {word}" for word in inside) + ")" if inside else ""
    # A box beyond an end of the axis sets no bound: a rounded bound could exclude the run at the end.
    low = f"{_value(axis, bottom)} <= " if bottom > 0 else ""
    high = f" <= {_value(axis, top)}" if top < 1 else ""
    return f"{low}{name}{high}" if low or high else ""


def _value(axis: Axis, height: float) -> str:
    value = axis["low"] + height * axis["span"]
    return f"{10**value if axis['log'] else value:.4g}"


def _without(where: str, name: str) -> str:
    """Return a filter without the condition that an earlier box set for this axis."""
    name = re.escape(name)
    number = rf"{_BOUND} <= {name} <= {_BOUND}|{_BOUND} <= {name}|{name} <= {_BOUND}"
    words = rf"\({name} == [^()]*\)"
    made = rf"(?:{number}|{words})"
    return re.sub(rf"^{made}(?: and |$)| and {made}(?= and |$)", "", where)
