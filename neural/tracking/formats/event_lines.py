"""Lines of ``events-<c>.jsonl``: every event that is not a metric, every gap and note, each with a checksum.

A line is one JSON object that begins ``{"crc":"<8 hex digits>",``. The digits are the CRC-32 of the bytes
after the comma, up to the newline. So any JSON tool can read a line, and a flipped bit is always detected.

The keys of a line determine its kind:

- ``seq``: an event ``{session, seq, time_ns, step, kind, data}``
- ``gap``: numbers that will not arrive ``{session, gap: [first, last], time_ns, reason}``
- ``note``: a record that no session emitted ``{session, note, key, time_ns, data}``
- ``info``: the description of a session from its HELLO ``{session, uid, info}``
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from neural.tracking.formats.event_checks import MAX_NUMBER, checked, usable_info
from neural.tracking.formats.events import NO_STEP, Event, Gap

_START = b'{"crc":"'
_HEAD_BYTES = len(_START) + 10  # eight digits, quote, comma
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class EventLine(NamedTuple):
    """A line with a correct checksum, at ``start`` (a byte offset); the next line begins at ``end``."""

    start: int
    end: int
    data: dict[str, Any]


class BadLine(NamedTuple):
    """Bytes that are not a valid line; ``torn``: they are the end of the file, without a newline."""

    start: int
    end: int
    torn: bool


def encode(data: Mapping[str, Any]) -> bytes:
    """Return the line for ``data``, with its checksum and its newline."""
    text = json.dumps(_lossless(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    rest = text[1:].encode()
    return b'%s%08x",%s\n' % (_START, zlib.crc32(rest), rest)


def event_line(session: str, event: Event) -> bytes:
    """Return the line of an event."""
    return encode({"session": session, **event._asdict()})


def gap_line(session: str, gap: Gap) -> bytes:
    """Return the line of a gap."""
    return encode(
        {"session": session, "gap": [gap.first, gap.last], "time_ns": gap.time_ns, "reason": gap.reason}
    )


def note_line(session: str, note: Mapping[str, Any]) -> bytes:
    """Return the line of a note, which is given as the log holds it."""
    rest = {key: value for key, value in note.items() if key not in ("kind", "key", "time_ns")}
    return encode(
        {
            "session": session,
            "note": note["kind"],
            "key": note["key"],
            "time_ns": int(note.get("time_ns", 0)),
            "data": rest,
        }
    )


def info_line(session: str, uid: bytes, info: Mapping[str, Any]) -> bytes:
    """Return the line that describes a session."""
    return encode({"session": session, "uid": uid.hex(), "info": info})


def scan(data: bytes) -> Iterator[EventLine | BadLine]:
    """Yield every valid line in order, and a :class:`BadLine` for each invalid stretch between them."""
    pos = 0
    while pos < len(data):
        newline = data.find(b"\n", pos)
        end = len(data) if newline < 0 else newline + 1
        found = _decode(data[pos:newline]) if newline >= 0 else None
        if found is not None:
            yield EventLine(pos, end, found)
        else:
            # The damaged byte may be a newline: then the next line begins inside this one. Quotes inside
            # JSON text are escaped, so the start of a line never occurs inside a valid line.
            hidden = data.find(_START, pos + 1, end)
            end = hidden if hidden >= 0 else end
            yield BadLine(pos, end, torn=newline < 0 and hidden < 0)
        pos = end


def scan_run(data: bytes) -> Iterator[EventLine | BadLine]:
    """Yield the lines of a run as :func:`scan` does; one of none of the four kinds is a bad one.

    An event that does not fit its kind is ``invalid``, and a session's description has only what fits.
    """
    for line in scan(data):
        if isinstance(line, BadLine):
            yield line
        elif not _fits(line.data):
            yield BadLine(line.start, line.end, torn=False)
        else:
            if "seq" in line.data:
                line.data["kind"], line.data["data"] = checked(line.data["kind"], line.data["data"])
            elif "info" in line.data:
                line.data["info"] = usable_info(line.data["info"])
            yield line


def _decode(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(_START) or line[_HEAD_BYTES - 2 : _HEAD_BYTES] != b'",':
        return None
    digits = line[len(_START) : _HEAD_BYTES - 2]
    try:
        if int(digits, 16) != zlib.crc32(line[_HEAD_BYTES:]):
            return None
        value = json.loads(line)
        found = {key: _original(item) for key, item in value.items() if key != "crc"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return found if isinstance(found.get("session"), str) else None


def _fits(line: dict[str, Any]) -> bool:
    """Return whether a line is of one of the four kinds."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        if "seq" in line:
            times = (line["time_ns"], 0 if line["step"] is None else line["step"])
            return _is_number(line["seq"]) and all(map(_is_time, times)) and _has(line, kind=str, data=dict)
        if "gap" in line:
            first, last = line["gap"]
            return _is_number(first) and _is_number(last) and first <= last and _has(line, reason=str)
        if "note" in line:
            return _is_time(line["time_ns"]) and _has(line, note=str, key=str, data=dict)
        return _has(line, uid=str, info=dict)
    return False


def _has(line: dict[str, Any], **types: type) -> bool:
    return all(isinstance(line[key], wanted) for key, wanted in types.items())


def _is_number(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_NUMBER


def _is_time(value: Any) -> bool:
    return type(value) is int and NO_STEP <= value <= MAX_NUMBER


def _lossless(value: Any) -> Any:
    """Return ``value`` so that JSON keeps it exactly; a value that JSON cannot hold becomes a marked map."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": not_finite(value)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        plain = {str(key): _lossless(item) for key, item in value.items()}
        return {"$map": plain} if any(key.startswith("$") for key in plain) else plain
    if isinstance(value, list | tuple):
        return [_lossless(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)  # msgpack has types that JSON lacks; encoding a line must never fail for one


def _original(value: Any) -> Any:
    if isinstance(value, list):
        return [_original(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, item),) = value.items()
        if key == "$float":
            return NOT_FINITE[item]
        if key == "$bytes":
            return base64.b64decode(item)
        if key == "$map":
            return {inner: _original(found) for inner, found in item.items()}
    return {key: _original(item) for key, item in value.items()}


def not_finite(value: float) -> str:
    """Return the JSON text for a NaN or an infinity."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def json_value(value: Any) -> Any:
    """Return ``value`` in a form for a JSON view: NaN and infinities as text, bytes as base64."""
    if isinstance(value, float) and not math.isfinite(value):
        return not_finite(value)
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value
