"""Checks the metrics of a call: checks names, flattens nested mappings, and converts values to floats.

This is the careful path, for calls with new names or unusual types. It runs before the emitter's lock, since
``__float__`` and mappings are the caller's code. Every error is the caller's mistake; its text names the
metric and the limit.
"""

from __future__ import annotations

import numbers
import operator
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from neural.tracking.core.names import check_metric_name
from neural.tracking.errors import FormatError
from neural.tracking.formats import events
from neural.tracking.formats.event_checks import INVALID, MAX_DEPTH, checked
from neural.tracking.formats.events import MAX_METRICS, MAX_NAMES_BYTES, NO_STEP

_REFUSED_DTYPES = frozenset("cSUMm")  # complex, bytes, text, dates: float() would take some of them


def flatten(metrics: Any) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return flat names and their values as floats.

    Raises:
        TypeError: not a mapping, a name that is not text, a value that is not a real number.
        ValueError: a bad or repeated name, a number too large for float64, over a limit.
    """
    if not isinstance(metrics, Mapping):
        raise TypeError(f"metrics must be a mapping of names to numbers, not {type(metrics).__name__}")
    names: list[str] = []
    values: list[float] = []
    for name, value in _leaves(metrics, "", 0):
        names.append(name)
        values.append(to_float(name, value))
        if len(names) > MAX_METRICS:
            raise ValueError(f"metric {name!r} is over the limit: a call takes at most {MAX_METRICS:,} metrics")
    _check_together(names)
    return tuple(names), tuple(values)


def _leaves(metrics: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > MAX_DEPTH:
        raise ValueError(f"metric {prefix[:60]!r}: nested deeper than {MAX_DEPTH}")
    for key, value in metrics.items():
        if not isinstance(key, str):
            check_metric_name(key)
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}/", depth + 1)
        else:
            yield check_metric_name(f"{prefix}{key}"), value


def _check_together(names: list[str]) -> None:
    if len(set(names)) != len(names):
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise ValueError(f"metric {name!r} is given twice in one call, at least once nested")
            seen.add(name)
    size = sum(len(name.encode()) + 1 for name in names)
    if size > MAX_NAMES_BYTES:
        raise ValueError(
            f"metric {names[-1]!r}: the names of one call are {size} bytes together, "
            f"over the limit of {MAX_NAMES_BYTES} bytes"
        )


def to_float(name: str, value: Any) -> float:
    """Return ``value`` as the nearest float64; raise as :func:`flatten`."""
    if type(value) is float:
        return value
    if isinstance(value, str | bytes | bytearray | complex):
        raise TypeError(f"metric {name!r} must be a real number, not {type(value).__name__}")
    if getattr(getattr(value, "dtype", None), "kind", "f") in _REFUSED_DTYPES:
        raise TypeError(f"metric {name!r} must be a real number, not {value.dtype}")
    try:
        if getattr(value, "ndim", 0):  # shape (1,) or (1, 1), as losses often have
            value = value.item()
        return float(value)
    except OverflowError:
        raise ValueError(f"metric {name!r} is too large: the limit of float64 is about 1.8e308") from None
    except Exception as error:  # `__float__` is the caller's code and may raise anything
        raise TypeError(
            f"metric {name!r} must be a real number, not {type(value).__name__}: {error}"
        ) from error


def check_step(step: Any) -> int:
    """Return ``step`` as an int; a float that is a whole number is one.

    Raises:
        TypeError: not an integer.
        ValueError: outside -2**63 < step < 2**63.
    """
    try:
        number = operator.index(step)
    except TypeError:
        if not isinstance(step, numbers.Real) or not float(step).is_integer():
            raise TypeError(f"step must be an integer, not {type(step).__name__}: {step!r:.60}") from None
        number = int(float(step))
    if not NO_STEP < number < 2**63:
        raise ValueError(f"step {str(number)[:40]} is out of range: -2**63 < step < 2**63")
    return number


def plain_sums() -> frozenset[type]:
    """Return the types of a sum that mark all its values as plain numbers; the sum starts with a float.

    Plain numbers convert to float64 without a warning and without the caller's code. NumPy's types are added
    once NumPy is imported: before that, no caller can pass one.
    """
    numpy = sys.modules.get("numpy")
    names = ("float16", "float32", "float64")
    return frozenset((float, *(getattr(numpy, name) for name in names if hasattr(numpy, name))))


def check_event(kind: object, data: Mapping[str, Any]) -> bytes:
    """Return the msgpack part of an event whose kind and data come from outside this package.

    An event that a reader cannot unpack would lose every event of the same batch, so it is refused here.

    Raises:
        PayloadTooLargeError: over 256 KiB once packed.
        TypeError: values that msgpack cannot carry, keys that are not text, maps nested too deep, data that do
            not fit the kind.
        ValueError: a reserved kind or key.
    """
    if not isinstance(kind, str) or kind == "metrics" or "kind" in data:
        raise ValueError(
            f"event of kind {kind!r}: the kind must be text, not 'metrics', and no key of the data"
        )
    packed = events.pack_event_data(kind, data)
    try:
        found, told = checked(kind, events.unpack_map(packed))
    except FormatError as error:
        raise TypeError(f"{kind} event: {error}") from None
    if found == INVALID:
        raise TypeError(f"{kind} event: {told.get('reason', 'this kind is for events that cannot be used')}")
    return packed
