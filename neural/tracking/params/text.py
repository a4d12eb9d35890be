"""The text for a value without a JSON type: the same in every process, and of limited length.

A training that is restarted logs its parameters again. A text with an address, or with a set's random order,
would look like a change. The time that a class's own ``__str__`` takes is not limited.
"""

from __future__ import annotations

import re
import sys
import types
from math import prod
from typing import Any

MAX_ARRAY_ITEMS = 1000
MAX_SET_ITEMS = 1000
MAX_STR_BYTES = 200 << 10  # together with its name it fits into one event
MAX_OBJECT_BYTES = 64 << 10
_SHOWN_BYTES = 1000  # a longer ``bytes`` value is shown as its size only
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def text_of(value: Any) -> str:
    """Return the text of any object, at most 64 KiB; never raises."""
    try:
        return cut(_text(value), MAX_OBJECT_BYTES)
    except Exception as error:  # noqa: BLE001 - a user's __str__ may raise anything, and must not stop a training
        return f"<{type(value).__name__} whose str() raised {type(error).__name__}>"


def unreadable(error: Exception) -> str:
    """Return the text for a value that could not be read."""
    return f"<could not be read: {type(error).__name__}>"


def cut(text: str, limit_bytes: int) -> str:
    """Return the text with only valid UTF-8; over the limit, a mark replaces its end."""
    if len(text) <= limit_bytes // 6:  # no character takes more than 6 bytes
        return text.encode("utf-8", "backslashreplace").decode()
    data = text[:limit_bytes].encode("utf-8", "backslashreplace")
    if len(text) <= limit_bytes and len(data) <= limit_bytes:
        return data.decode()
    mark = f" … [cut: {len(text):,} characters]"
    return data[: limit_bytes - len(mark) - 2].decode("utf-8", "ignore") + mark


def plain_array(value: Any) -> Any:
    """Return a NumPy scalar as Python's, a small array or tensor as a list; any other value unchanged."""
    np = sys.modules.get("numpy")  # if nothing imported it, no value is of its types
    if np is not None and isinstance(value, np.generic | np.ndarray):
        if value.dtype.kind not in "biufUO" or value.size > MAX_ARRAY_ITEMS:
            return value
        if value.dtype.itemsize > 8 and value.dtype.kind == "f":
            return float(value) if value.ndim == 0 else value.astype(float).tolist()
        return value.tolist()
    if not is_array(value) or prod(value.shape) > MAX_ARRAY_ITEMS or not hasattr(value, "tolist"):
        return value
    try:
        return value.tolist()
    except Exception:  # noqa: BLE001 - a tensor may have no data, or its device may be lost
        return value


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    if isinstance(value, set | frozenset):
        return _set_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes_text(value)
    if isinstance(value, int) and value.bit_length() > 10_000:  # Python refuses to write more digits
        return f"<int of {value.bit_length():,} bits>"
    if isinstance(value, types.FunctionType):
        return f"<function {value.__module__}.{value.__qualname__}>"
    if is_array(value) and not (_is_numpy(value) and value.size <= MAX_ARRAY_ITEMS):
        shape = "×".join(map(str, value.shape)) or "scalar"
        return f"<{type(value).__name__} of {value.dtype}, {shape}>"
    return _stable(str(value), value)


def _stable(text: str, value: Any) -> str:
    """Return the text of an object without addresses: CPython's usual form and the object's own id."""
    text = _ADDRESS.sub("", text)
    for address in (hex(id(value)), str(id(value))):
        text = text.replace(address, "…")
    return text


def _set_text(value: set[Any] | frozenset[Any]) -> str:
    """Return a set as Python writes it, with its items sorted by their texts."""
    name = type(value).__name__
    if len(value) > MAX_SET_ITEMS:
        return f"<{name} of {len(value):,} items>"
    if not value:
        return f"{name}()"
    items = "{" + ", ".join(sorted(_item_text(item) for item in value)) + "}"
    return items if type(value) is set else f"{name}({items})"


def _item_text(value: Any) -> str:
    if type(value) is tuple:
        return f"({', '.join(map(_item_text, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, frozenset | types.FunctionType):
        return _text(value)
    return _stable(repr(value), value)


def _bytes_text(value: bytes | bytearray | memoryview) -> str:
    size = value.nbytes if isinstance(value, memoryview) else len(value)
    if isinstance(value, memoryview) or size > _SHOWN_BYTES:
        return f"<{type(value).__name__} of {size:,} bytes>"
    return str(value)


def is_array(value: Any) -> bool:
    """Return whether the value is an array or a tensor of any library: its class has a shape and a dtype."""
    kind = type(value)
    if not (hasattr(kind, "shape") and hasattr(kind, "dtype")):
        return False
    shape = value.shape
    return isinstance(shape, tuple) and all(isinstance(length, int) for length in shape)


def _is_numpy(value: Any) -> bool:
    np = sys.modules.get("numpy")
    return np is not None and isinstance(value, np.generic | np.ndarray)
