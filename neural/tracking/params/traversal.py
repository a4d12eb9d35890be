"""One pass over the parameters that a caller gave, with limits on depth, number of values and size.

A container that contains itself is replaced by a text with its path. Every value counts, containers too: a
few objects that share their parts can form a tree with billions of leaves. When a limit is reached, each
container gets a mark with the number of its items that are left out.
"""

from __future__ import annotations

import itertools
from typing import Any

from neural.tracking.params import objects, packed_size
from neural.tracking.params.text import MAX_STR_BYTES, cut, plain_array, text_of, unreadable

MAX_DEPTH = 24  # an event may be nested 32 levels deep, and these values are a few levels inside it
MAX_VALUES = 100_000
MAX_BYTES = 4 << 20
LARGEST_SHARE = 0.75  # of the free room, for one of several items: so there is room for the following items
MAX_LIST_BYTES = 200 << 10  # a list is one value: together with its name it fits into one event
MAX_NAME_BYTES = 512
LEFT_OUT = "…"  # the name of the mark with the number of items that are left out
_MIN_INT, _PAST_INT = -(2**63), 2**64  # the range of msgpack's integers, without its end
_SHORT = 80
_SCALARS = (bool, int, float, str)

Path = tuple[str, ...]


class Walk:
    """Makes values plain. Use one instance for each call.

    ``as_text`` lists the dotted paths of values that became a text or a mark. ``left_out``: whether values
    were left out. ``bytes``: the packed size so far.
    """

    def __init__(self) -> None:
        self.as_text: list[str] = []
        self.left_out = False
        self.bytes = 0
        self._values = 0
        self._list_until: int | None = None  # the limit of ``bytes`` within the current outermost list
        self._until = (MAX_VALUES, MAX_BYTES)  # the limits of values and ``bytes`` within the current container
        self._above: dict[int, Path] = {}  # the path of each container that is being walked, by id

    def top(self, value: Any) -> dict[str, Any] | None:
        """Return the named values of the caller's object as a plain dict; None if it has no names.

        Never raises. Its duration is limited, except for the caller's own properties and ``__str__``.
        """
        try:
            found = objects.named_on_top(value)
        except Exception as error:  # noqa: BLE001 - the caller's own mapping or attributes
            return {LEFT_OUT: self._marked(unreadable(error), (LEFT_OUT,))}
        if found is None:
            return None
        made: dict[str, Any] = self._entered(value, found, ())
        return made

    def _plain(self, value: Any, path: Path) -> Any:
        """Return the value in a form that JSON can hold; never raises, even if the caller's code does."""
        try:
            return self._converted(value, path)
        except Exception as error:  # noqa: BLE001 - any property, iterator or resolver of the caller's
            return self._marked(unreadable(error), path)

    def _converted(self, value: Any, path: Path) -> Any:
        if value is not None and not isinstance(value, _SCALARS):
            value = plain_array(value)
        if value is None or isinstance(value, bool):
            self._count(1)
            return value
        if isinstance(value, float):
            self._count(packed_size.FLOAT)
            return float(value)
        if isinstance(value, int):
            plain = int.__pos__(value)  # ignores the methods of a subclass
            if _MIN_INT <= plain < _PAST_INT:
                self._count(packed_size.of_int(plain))
                return plain
        if isinstance(value, str):
            return self._str(value, path)
        return self._container(value, path)

    def _container(self, value: Any, path: Path) -> Any:
        """Return a dict or a list made plain; anything else as text."""
        found = objects.named(value)
        items = objects.listed(value) if found is None else None
        if found is None and items is None:
            return self._marked(text_of(value), path)
        if len(path) >= MAX_DEPTH:  # its str() could be endless
            return self._marked(f"<{type(value).__name__}, nested deeper than {MAX_DEPTH}>", path)
        return self._entered(value, found, path) if found else self._entered(value, items, path, is_list=True)

    def _entered(self, value: Any, found: objects.Named | None, path: Path, *, is_list: bool = False) -> Any:
        assert found is not None
        above = self._above.get(id(value))
        if above is not None:
            return self._marked(f"<refers back to {'.'.join(above) or 'the whole'}>", path)
        self._above[id(value)] = path
        list_until = self._list_until
        try:
            return self._list(value, found, path) if is_list else self._dict(value, found, path)
        finally:
            del self._above[id(value)]
            self._list_until = list_until

    def _dict(self, value: Any, found: objects.Named, path: Path) -> dict[str, Any]:
        self._count(packed_size.CONTAINER)
        made: dict[str, Any] = {}
        try:
            names = list(itertools.islice(found.names, max(0, self._until[0] - self._values) + 1))
        except Exception as error:  # noqa: BLE001 - the caller's own mapping
            return {LEFT_OUT: self._marked(unreadable(error), (*path, LEFT_OUT))}
        for place, key in enumerate(names):
            if self._is_full():
                made[LEFT_OUT] = self._rest(value, place, (*path, LEFT_OUT))
                break
            name = _name(key)
            if name in made:
                name = _free(name, made)
            self.bytes += packed_size.of_text(name)
            until = self._until
            if place < len(names) - 1:
                self._until = self._share()
            made[name] = self._read(found, value, key, path, name)
            self._until = until
        return made

    def _list(self, value: Any, found: objects.Named, path: Path) -> list[Any]:
        """Return a list made plain; the outermost list with all its items must fit into one event."""
        if self._list_until is None:
            self._list_until = self.bytes + MAX_LIST_BYTES
        self._count(packed_size.CONTAINER)
        made: list[Any] = []
        for place in found.names:
            if self._is_full():
                made.append(self._rest(value, place, (*path, str(place))))
                break
            made.append(self._read(found, value, place, path, place))
        return made

    def _read(self, found: objects.Named, container: Any, key: Any, path: Path, name: str | int) -> Any:
        try:
            item = found.read(key)
        except Exception as error:  # noqa: BLE001 - any property or resolver of the caller's
            return self._marked(objects.as_written(container, key) or unreadable(error), (*path, str(name)))
        kind = type(item)
        if kind is int or kind is float or kind is str:  # a faster path for nearly all values
            size = _usual_size(item, kind)
            if size:
                self.bytes += size
                self._values += 1
                return item
        return self._plain(item, (*path, str(name)))

    def _rest(self, container: Any, kept: int, path: Path) -> str:
        """Return the mark for the items of a container that are left out after the first ``kept``."""
        self.left_out = True
        size = objects.size(container)
        return self._marked(f"{'' if size is None else f'{size - kept:,} '}more left out", path)

    def _str(self, value: str, path: Path) -> str:
        text = str.__str__(value)  # for an Enum that is a str, this is its value, not its name
        kept = cut(text, self._text_room())
        if kept != text:  # too long, or with lone surrogates, as in undecodable file names
            return self._marked(kept, path)
        self._count(packed_size.of_text(kept))
        return kept

    def _marked(self, text: str, path: Path) -> str:
        kept = cut(text, self._text_room())
        self.as_text.append(".".join(path))
        self._count(packed_size.of_text(kept) + packed_size.of_text(self.as_text[-1]))
        return kept

    def _count(self, size: int) -> None:
        self.bytes += size
        self._values += 1

    def _text_room(self) -> int:
        """Return the maximum size of a text at this position in bytes."""
        return MAX_STR_BYTES if self._list_until is None else max(100, self._list_until - self.bytes)

    def _share(self) -> tuple[int, int]:
        """Return the limits of values and bytes for one of several items: at most 75 % of the free room."""
        values, size = self._until
        values -= int((values - self._values) * (1 - LARGEST_SHARE))
        return values, size - int((size - self.bytes) * (1 - LARGEST_SHARE))

    def _is_full(self) -> bool:
        values, size = self._until
        limit = size if self._list_until is None else min(size, self._list_until)
        return self._values >= values or self.bytes >= limit


def _usual_size(item: Any, kind: type) -> int:
    """Return the packed size of an item that stays unchanged; 0 if it may need a change."""
    if kind is float:
        return packed_size.FLOAT
    if kind is int:
        return packed_size.of_int(item) if _MIN_INT <= item < _PAST_INT else 0
    return len(item) + 2 if len(item) < _SHORT and item.isascii() else 0


def _name(key: Any) -> str:
    if type(key) is str and len(key) < _SHORT and key.isascii():
        return key
    return cut(key if type(key) is str else text_of(key), MAX_NAME_BYTES)


def _free(name: str, taken: dict[str, Any]) -> str:
    """Return the name with a number: another key has the same text, such as ``1`` and ``"1"``."""
    return next(free for n in itertools.count(2) if (free := f"{name} ({n})") not in taken)
