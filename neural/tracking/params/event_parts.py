"""Splits the parameters of one call into events: usually one, several if they exceed the size of an event.

Each part is a separate event. Readers merge the parts into the parameters of one call. A name is in more than
one part only if it is the parent of names in each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from neural.tracking.formats.events import MAX_EVENT_BYTES
from neural.tracking.params.packed_size import of_plain

MAX_PART_BYTES = MAX_EVENT_BYTES - (8 << 10)  # leaves 8 KiB for the event's own fields
_USUAL_BYTES = 100 << 10  # up to this size, as the walk counts it, one event is surely enough
_Leaf = tuple[tuple[str, ...], Any]


def part_events(values: dict[str, Any], as_text: Sequence[str], size_bytes: int) -> Iterator[dict[str, Any]]:
    """Yield the data of the events for the parameters; in several events ``part`` is (number, total).

    Args:
        values: plain nested parameters.
        as_text: the dotted paths of values that became text, in the order of ``values``.
        size_bytes: the packed size of ``values``.
    """
    if not values:
        return
    if size_bytes <= _USUAL_BYTES:
        yield {"values": values, "as_text": list(as_text)}
        return
    parts = list(_parts(values, list(reversed(as_text))))
    for number, part in enumerate(parts, 1):
        yield {**part, "part": [number, len(parts)]} if len(parts) > 1 else part


def _parts(values: Mapping[str, Any], marks: list[str]) -> Iterator[dict[str, Any]]:
    part: dict[str, Any] = {"values": {}, "as_text": []}
    size = 0
    for path, value in _leaves(values, ()):
        mine = _taken(marks, ".".join(path))
        cost = of_plain(path) + of_plain(value) + of_plain(mine)
        if cost > MAX_PART_BYTES:  # possible only with the longest names at the deepest nesting
            mine, value = [".".join(path)], f"<{type(value).__name__}, too large>"
            cost = of_plain(path) + of_plain(value) + of_plain(mine)
        if size and size + cost > MAX_PART_BYTES:
            yield part
            part, size = {"values": {}, "as_text": []}, 0
        _put(part["values"], path, value)
        part["as_text"] += mine
        size += cost
    yield part


def _leaves(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[_Leaf]:
    """Yield path and value of each leaf: everything except dicts with items; a list is one leaf."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _taken(marks: list[str], path: str) -> list[str]:
    """Remove the marks of one value and of its items from the end of ``marks``; return them."""
    mine = []
    while marks and (marks[-1] == path or marks[-1].startswith(f"{path}.")):
        mine.append(marks.pop())
    return mine


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        values = values.setdefault(name, {})
    values[path[-1]] = value
