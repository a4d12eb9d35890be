"""Parameters as the events that carry them: one for usual ones, several where one cannot hold them.

Each part is an event of its own; merged, as calls are, they are the parameters of one call. No name is
in two of them but as the way to others below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from neural.tracking.formats.events import MAX_EVENT_BYTES
from neural.tracking.params.packed_size import of_plain

MAX_PART_BYTES = MAX_EVENT_BYTES - (8 << 10)  # the rest is for the event's own fields
_USUAL_BYTES = 100 << 10  # by the walk's count, which leaves out what little marks cost
_Leaf = tuple[tuple[str, ...], Any]


def part_events(values: dict[str, Any], as_text: Sequence[str], size_bytes: int) -> Iterator[dict[str, Any]]:
    """Yield the data of the events that carry the parameters; ``part`` is (which, of how many)."""
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
        if cost > MAX_PART_BYTES:  # only of names as long as can be, nested as deep as can be
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
    """Yield what merging takes as one value; a list is one, a dict only without a name in it."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _taken(marks: list[str], path: str) -> list[str]:
    """Take the marks of one value, and of what is in it, off the end of ``marks``."""
    mine = []
    while marks and (marks[-1] == path or marks[-1].startswith(f"{path}.")):
        mine.append(marks.pop())
    return mine


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        values = values.setdefault(name, {})
    values[path[-1]] = value
