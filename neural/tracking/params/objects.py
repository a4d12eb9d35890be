"""Which objects hold named values, which hold a list of values, and how one value is read from each.

Only known kinds of objects are expanded; the declarations of their classes identify them. Expanding every
object with attributes would put the internals of a model or a logger into the parameters. The libraries of
these kinds are never imported here.
"""

from __future__ import annotations

import enum
import sys
import types
from collections import UserList, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from neural.tracking.params.text import is_array

_NAMELESS = (type, enum.Enum, str, bytes, int, float, complex, list, tuple, set, frozenset, deque, UserList)

_DECLARATIONS = ("__pydantic_fields__", "model_fields", "__fields__", "__struct_fields__")  # the last: msgspec


class Named(NamedTuple):
    """Names or list positions, and a function that reads the value of each; it may raise anything."""

    names: Iterable[Any]
    read: Callable[[Any], Any]


def named(value: Any) -> Named | None:
    """Return names and values of a mapping, dataclass, NamedTuple, namespace or settings object; else None.

    May raise anything that the caller's object raises.
    """
    if isinstance(value, Mapping):
        return Named(value, value.__getitem__)
    if isinstance(value, type):
        return None
    kind = type(value)
    declared = _declared(kind)
    if declared is not None:
        extra = getattr(value, "__pydantic_extra__", None) if hasattr(kind, "__pydantic_extra__") else None
        return Named([*declared, *(extra or ())], lambda name: getattr(value, name))
    if isinstance(value, types.SimpleNamespace) or _is_from("argparse", "Namespace", value):
        return Named(vars(value), vars(value).__getitem__)
    if hasattr(kind, "flag_values_dict"):  # absl's flags
        flags = value.flag_values_dict()
        return Named(flags, flags.__getitem__)
    # Objects that dict() accepts as mappings, such as ml_collections' ConfigDict, but not tables of data.
    if hasattr(kind, "keys") and hasattr(kind, "__getitem__") and not hasattr(kind, "shape"):
        return Named(value.keys(), value.__getitem__)
    return None


def named_on_top(value: Any) -> Named | None:
    """Return :func:`named` of the value, for other objects their attributes; None if there are no names.

    May raise anything that the caller's object raises.
    """
    found = named(value)
    if found is not None or isinstance(value, _NAMELESS) or callable(value) or is_array(value):
        return found
    kind = type(value)
    # A class without a constructor is a list of defaults: ``class Config: rate = 0.1``.
    attributes = _class_attributes(kind) if kind.__init__ is object.__init__ else {}
    slots = [name for base in reversed(kind.__mro__) for name in _slots(base) if hasattr(value, name)]
    attributes |= {name: getattr(value, name) for name in slots}
    own = getattr(value, "__dict__", None)
    if isinstance(value, types.ModuleType):
        own = {name: item for name, item in vars(value).items() if not name.startswith("__")}
    if not slots and not isinstance(own, dict):
        return None
    attributes |= own or {}
    return Named(attributes, attributes.__getitem__)


def listed(value: Any) -> Named | None:
    """Return positions and items of a list, tuple or deque; None for other values."""
    if isinstance(value, deque):  # access by position is slow in its middle
        value = list(value)
    if isinstance(value, list | tuple | UserList) or _is_from("omegaconf", "ListConfig", value):
        return Named(range(len(value)), value.__getitem__)
    return None


def size(value: Any) -> int | None:
    """Return the container's ``len()``; None if that fails."""
    try:
        return len(value)
    except Exception:  # noqa: BLE001 - the caller's code; then the text is shown without the number
        return None


def as_written(value: Any, name: Any) -> str | None:
    """Return the unresolved text of an OmegaConf value that cannot be resolved; None for anything else."""
    if not _is_from("omegaconf", "Container", value):
        return None
    try:
        raw = value._get_node(name)._value()
    except Exception:  # noqa: BLE001 - the caller's resolvers and types
        return None
    return raw if isinstance(raw, str) else None


def _declared(kind: type) -> list[str] | None:
    """Return the names of the fields that a class declares; None if it declares none."""
    if hasattr(kind, "__dataclass_fields__"):
        # Not asdict(): it deep-copies, which fails for some field values, such as an open file.
        import dataclasses  # already imported: the class was made with it

        return [field.name for field in dataclasses.fields(kind)]
    if hasattr(kind, "__attrs_attrs__"):
        return [attribute.name for attribute in kind.__attrs_attrs__]
    names = getattr(kind, "_fields", None)
    if issubclass(kind, tuple) and isinstance(names, tuple):  # NamedTuple
        return list(names)
    for declaration in _DECLARATIONS:
        if isinstance(names := getattr(kind, declaration, None), dict | tuple):
            return list(names)
    return None


def _class_attributes(kind: type) -> dict[str, Any]:
    """Return the attributes of a class that are not private and not methods, properties or descriptors."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        for name, item in vars(base).items():
            if not (name.startswith("_") or callable(item) or hasattr(type(item), "__get__")):
                found[name] = item
    return found


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if not name.startswith("__"))


def _is_from(module: str, name: str, value: Any) -> bool:
    """Return whether the value is an instance of a module's class; False if the module is not imported."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)
