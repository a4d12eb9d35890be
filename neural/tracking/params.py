"""What users pass as hyperparameters, made into plain JSON-able values; no value ever raises.

A value JSON has no type for becomes its ``str()`` and its dotted path is listed, so that a reader
can tell the text ``"adam"`` from an object that printed as ``adam``.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 24  # an event may be nested 32 deep, and these values sit a few levels inside it
MAX_ARRAY_ITEMS = 1000
_INT64 = range(-(2**63), 2**64)  # what msgpack carries


def plain_params(hyperparameters: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the values as nested dicts of JSON-able values, and the dotted paths kept as text.

    Args:
        hyperparameters: a (nested) mapping, an argparse namespace, a dataclass instance, or any
            object whose settings are its attributes.

    Raises:
        TypeError: it has no names for its values (a number, a list, a class).
    """
    named = _named_values(hyperparameters)
    if named is None:
        raise TypeError(
            f"hyperparameters must be a dict, an argparse namespace or a dataclass instance, "
            f"not {type(hyperparameters).__name__}"
        )
    as_text: list[str] = []
    values = {_text(key): _plain(value, (_text(key),), as_text) for key, value in named.items()}
    return values, as_text


def merge_params(base: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``new`` merged in: nested dicts unite, everything else is replaced."""
    merged = dict(base)
    for key, value in new.items():
        old = merged.get(key)
        merged[key] = merge_params(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def flat_params(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested parameters as one level with dotted names; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            flat.update(flat_params(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def _named_values(value: Any) -> Mapping[Any, Any] | None:
    """Return names and values of a mapping, dataclass instance or namespace; None for the rest."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, type):
        return None
    if _is_dataclass(value):
        # Not asdict(): it deep-copies, which a model or an open file among the fields may refuse.
        import dataclasses  # is there already: its class was made with it

        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    if callable(value) or isinstance(value, enum.Enum):
        return None
    attributes = getattr(value, "__dict__", None)
    return attributes if isinstance(attributes, dict) else None


def _is_dataclass(value: Any) -> bool:
    # What dataclasses.is_dataclass() looks at; a trainer that has none need not import that module.
    return hasattr(type(value), "__dataclass_fields__")


def _plain(value: Any, path: tuple[str, ...], as_text: list[str]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    value = _from_numpy(value)
    if isinstance(value, bool | float):
        return bool(value) if isinstance(value, bool) else float(value)
    if isinstance(value, int) and value in _INT64:
        return int(value)
    if isinstance(value, str):
        return _whole_text(value, path, as_text)
    if len(path) < MAX_DEPTH:
        nested = _nested(value, path, as_text)
        if nested is not None:
            return nested
    as_text.append(".".join(path))
    return _text(value)


def _nested(value: Any, path: tuple[str, ...], as_text: list[str]) -> Any:
    """Return containers made plain, or None for what is no container JSON knows."""
    if isinstance(value, Mapping) or _is_dataclass(value):
        named = _named_values(value)
        assert named is not None
        return {_text(key): _plain(item, (*path, _text(key)), as_text) for key, item in named.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, (*path, str(index)), as_text) for index, item in enumerate(value)]
    return None


def _from_numpy(value: Any) -> Any:
    """Return NumPy's scalars as Python's and its small arrays as lists; anything else as it is."""
    np = sys.modules.get("numpy")  # where nobody imported it, no value is of its types
    if np is None or not isinstance(value, np.generic | np.ndarray):
        return value
    if value.dtype.kind not in "biufU" or value.size > MAX_ARRAY_ITEMS:
        return value
    if value.dtype.itemsize > 8 and value.dtype.kind == "f":
        return float(value) if value.ndim == 0 else value.astype(float).tolist()
    return value.tolist()


def _whole_text(value: str, path: tuple[str, ...], as_text: list[str]) -> str:
    text = str.__str__(value)  # of a str-and-Enum this is its value, not its name
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates, as in undecodable file names
        as_text.append(".".join(path))
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def _text(value: Any) -> str:
    try:
        text = value if type(value) is str else str(value)
    except Exception as error:  # noqa: BLE001 - a user's __str__ may raise anything, and must not stop a training
        text = f"<{type(value).__name__} whose str() raised {type(error).__name__}>"
    return text.encode("utf-8", "backslashreplace").decode()
