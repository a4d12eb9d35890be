"""Converts hyperparameters of any kind into plain JSON-able values; no value makes it raise.

A value without a JSON type becomes its ``str()``, and its dotted path is listed. So a reader can distinguish
the text ``"adam"`` from an object that printed as ``adam``. Size and time are limited, except for the time of
a class's own ``__str__`` or property; the limits are in :mod:`neural.tracking.params.traversal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from neural.tracking.params.event_parts import part_events
from neural.tracking.params.traversal import Walk


class ParamEvents(NamedTuple):
    """The data of the events for one call's parameters, and whether values were left out for lack of room."""

    events: list[dict[str, Any]]
    left_out: bool


def param_events(hyperparameters: Any) -> ParamEvents:
    """Return the events for a call that logs parameters: none for no parameters, several for very many.

    Args:
        hyperparameters: a (nested) mapping, a dataclass, attrs, pydantic or NamedTuple instance, an
            argparse namespace, absl's flags, or any object whose settings are its attributes.

    Raises:
        TypeError: the values have no names (a number, a list, a class).
    """
    values, walk = _walk(hyperparameters)
    return ParamEvents(list(part_events(values, walk.as_text, walk.bytes)), walk.left_out)


def plain_params(hyperparameters: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the values as nested dicts of JSON-able values, and the dotted paths of values that became text.

    Args, Raises: as for :func:`param_events`.
    """
    values, walk = _walk(hyperparameters)
    return values, walk.as_text


def _walk(hyperparameters: Any) -> tuple[dict[str, Any], Walk]:
    walk = Walk()
    values = walk.top(hyperparameters)
    if values is None:
        raise TypeError(
            f"hyperparameters must have names for their values, as a dict, a namespace or a dataclass has, "
            f"not {type(hyperparameters).__name__}"
        )
    return values, walk


def merge_params(base: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``base`` with ``new`` merged in: nested dicts are merged, other values replaced."""
    merged = dict(base)
    for key, value in new.items():
        old = merged.get(key)
        merged[key] = merge_params(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def flat_params(values: Mapping[str, Any], separator: str = ".", prefix: str = "") -> dict[str, Any]:
    """Return nested parameters as one flat dict, with names joined by ``separator``; lists remain values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flat_params(value, separator, f"{name}{separator}"))
        else:
            flat[name] = value
    return flat
