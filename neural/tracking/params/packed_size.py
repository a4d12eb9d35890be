"""Upper bounds for the msgpack size of plain values; they are close to the true size."""

from __future__ import annotations

from typing import Any

CONTAINER = 5
FLOAT = 9


def of_int(value: int) -> int:
    """Return the packed size of an integer of at most 64 bits, in bytes."""
    bits = value.bit_length()
    return 1 if 0 <= value < 128 else 2 if bits < 8 else 3 if bits < 16 else 5 if bits < 32 else 9


def of_text(text: str) -> int:
    """Return the packed size of a text in bytes."""
    length = len(text) if text.isascii() else len(text.encode())
    return length + (1 if length < 32 else 2 if length < 256 else 3 if length < 1 << 16 else 5)


def of_plain(value: Any) -> int:
    """Return an upper bound for the packed size of any plain value in bytes."""
    if isinstance(value, str):
        return of_text(value)
    if isinstance(value, float):
        return FLOAT
    if isinstance(value, int) and not isinstance(value, bool):
        return of_int(value)
    if isinstance(value, dict):
        return CONTAINER + sum(of_text(name) + of_plain(item) for name, item in value.items())
    if isinstance(value, list | tuple):
        return CONTAINER + sum(map(of_plain, value))
    return 1
