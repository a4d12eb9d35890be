"""Keeping what was read, the least recently used going first, within so many bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Values under keys, each with a signature: one with another signature counts as not there."""

    def __init__(self, limit_bytes: int, size_of: Callable[[T], int]) -> None:
        self._limit_bytes = limit_bytes
        self._size_of = size_of
        self._held: OrderedDict[Hashable, tuple[Hashable, T]] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = 0

    def get(self, key: Hashable, signature: Hashable, make: Callable[[], T]) -> T:
        """Return the value, made anew if the signature changed."""
        with self._lock:
            if (found := self._held.get(key)) is not None and found[0] == signature:
                self._held.move_to_end(key)
                return found[1]
        value = make()  # not under the lock: reading one run must not hold up another
        with self._lock:
            if (old := self._held.pop(key, None)) is not None:
                self.size_bytes -= self._size_of(old[1])
            self._held[key] = (signature, value)
            self.size_bytes += self._size_of(value)
            while self.size_bytes > self._limit_bytes and len(self._held) > 1:
                _, (_, oldest) = self._held.popitem(last=False)
                self.size_bytes -= self._size_of(oldest)
        return value
