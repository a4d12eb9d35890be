"""What the data of each kind of event may be. A peer may send anything, and so may a file say anything.

All who read events read them through :func:`checked`: an event that does not fit its kind becomes one of the
kind ``invalid``. It is kept and counted, and no reader acts on what it says. Kinds that are not listed here
are a user's own and may hold any data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

METRICS = "metrics"  # of metrics whose names are in the event itself
INVALID = "invalid"  # the kind of an event that does not fit its kind; its data are `kind`, `reason` and `data`
MAX_NUMBER = 2**63 - 1
MAX_DEPTH = 32  # of the maps and lists in an event
Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _tree(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Return whether all keys of all maps are text, as JSON demands, and nothing is nested too deep."""
    if not isinstance(value, dict | list):
        return True
    if depth == 0 or (isinstance(value, dict) and not all(isinstance(key, str) for key in value)):
        return False
    return all(_tree(one, depth - 1) for one in (value.values() if isinstance(value, dict) else value))


def _map(value: Any) -> bool:
    return isinstance(value, dict) and _tree(value)


def _number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_NUMBER


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_number, value))


def _columns(data: Mapping[str, Any]) -> bool:
    names, values = data.get("names"), data.get("values")
    if not isinstance(names, list) or not isinstance(values, list) or not len(names) == len(values) > 0:
        return False
    return _texts(names) and all(isinstance(value, float) for value in values)


def _settings(value: Any) -> bool:
    if not _map(value):
        return False
    backend, env = value.get("backend"), value.get("env")
    return (backend is None or _texts(backend)) and (env is None or _map(env))


# What is None or absent says nothing.
EVENTS: Mapping[str, Mapping[str, Check]] = {
    "open": {
        "name": _text, "role": _text, "rank": _number, "attempt": _number, "world_size": _number,
        "started_ns": _number, "tags": _texts, "notes": _text, "group": _text, "settings": _settings,
    },
    "params": {"values": _map, "as_text": _texts, "part": _numbers},
    "text": {"name": _text, "text": _text},
    "tags": {"add": _texts},
    "notes": {"notes": _text},
    "metadata": {"values": _map},
    "end": {"status": lambda value: value in ("completed", "failed"), "error": _text},
    "artifact": {"metadata": _map},
}  # fmt: skip

INFO: Mapping[str, Check] = {
    "name": _text, "dir": _text, "base_dir": _text, "role": _text, "host": _text, "boot_id": _text,
    "key": _text, "mode": _text, "collector": _text, "via": _text, "rank": _number, "world_size": _number,
    "attempt": _number, "pid": _number, "start_time": _number, "opened_ns": _number, "sinks": _texts,
    "env": _map,
}  # fmt: skip


def checked(kind: str, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return kind and data of an event; ``invalid`` and why, if they do not fit each other. Never blocks."""
    wrong = next((key for key, fits in EVENTS.get(kind, {}).items() if not _is_usable(data.get(key), fits)), "")
    if kind == METRICS and not _columns(data):
        wrong = "names or values"
    if wrong:
        return INVALID, {"kind": kind, "reason": f"{wrong} cannot be used", "data": data}
    return kind, data


def info_error(info: Mapping[str, Any]) -> str:
    """Return what is wrong in a session's description; empty if nothing is. Never blocks."""
    wrong = [key for key, fits in INFO.items() if not _is_usable(info.get(key), fits)]
    return f"info holds {', '.join(wrong)} of a wrong type" if wrong else ""


def usable_info(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return a session's description without what has a wrong type. Never blocks."""
    return {key: value for key, value in info.items() if key not in INFO or _is_usable(value, INFO[key])}


def _is_usable(value: Any, fits: Check) -> bool:
    return value is None or fits(value)
