"""Messages between a sender and the collector, and their checks.

``docs/wire-protocol.md`` is the normative text. A message is a ZeroMQ multipart message: a head (a checksum
and a msgpack map with the type and the fields), then the parts of that type. Decoding never trusts its input:
for any bytes, :func:`decode` returns a message or raises :class:`ProtocolError`.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_type_hints

import msgpack

from neural.tracking.errors import FormatError, ProtocolError
from neural.tracking.formats.events import unpack_map

PROTOCOL = 1
VIA = "via"  # in a session's info: the allowed name that it connected with over TCP; set by the collector only
EMITTED = "emitted"  # in the info of a HELLO sent for a dead process: how many events the process emitted
MAX_HEAD_BYTES = 64 << 10
MAX_SCHEMAS_BYTES = 5 << 20
MAX_PAYLOAD_BYTES = 1 << 20
MAX_PART_BYTES = MAX_SCHEMAS_BYTES  # the limit set in ZeroMQ at both ends
MAX_NUMBER = 2**63 - 1

_CRC = struct.Struct("<I")


@dataclass(frozen=True, kw_only=True)
class Message:
    """Base of all messages. The head holds the fields, except those that are marked as parts."""

    type: ClassVar[str]

    def encode(self) -> list[bytes]:
        """Return the parts of the ZeroMQ multipart message."""
        head: dict[str, Any] = {"t": self.type}
        parts: list[bytes] = []
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if item.metadata.get("part"):
                parts.append(value)
            else:
                head[item.name] = value
        return [pack_head(head), *parts]


def _part(limit_bytes: int) -> Any:
    return field(metadata={"part": limit_bytes})


@dataclass(frozen=True, kw_only=True)
class Hello(Message):
    """A session asks the collector to accept it; ``info`` is its description."""

    type: ClassVar[str] = "hello"
    protocol: int
    version: str
    session: bytes
    uid: bytes
    info: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Welcome(Message):
    """The collector has everything of the session up to ``last`` on disk; the sender continues from there.

    ``notice`` is a text for people: which requests of the session are ignored. Older collectors send none.
    """

    type: ClassVar[str] = "welcome"
    session: bytes
    log_id: bytes
    last: int
    window: int
    notice: str = ""


@dataclass(frozen=True, kw_only=True)
class Refuse(Message):
    """The collector refuses this session; ``code`` is for programs, ``reason`` for people."""

    type: ClassVar[str] = "refuse"
    session: bytes
    code: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Data(Message):
    """Consecutive bytes of a session's stream, ``first..last``; ``crc`` is :func:`data_crc` of both parts."""

    type: ClassVar[str] = "data"
    session: bytes
    first: int
    last: int
    base: int
    crc: int
    schemas: bytes = _part(MAX_SCHEMAS_BYTES)
    payload: bytes = _part(MAX_PAYLOAD_BYTES)


@dataclass(frozen=True, kw_only=True)
class Ack(Message):
    """Everything up to ``last`` is on the collector's disk, as events or as recorded gaps."""

    type: ClassVar[str] = "ack"
    session: bytes
    log_id: bytes
    last: int
    window: int


@dataclass(frozen=True, kw_only=True)
class GapNotice(Message):
    """The sender no longer has the events ``first..last``."""

    type: ClassVar[str] = "gap"
    session: bytes
    first: int
    last: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Bye(Message):
    """The session ended with ``n`` events, all acknowledged."""

    type: ClassVar[str] = "bye"
    session: bytes
    n: int


@dataclass(frozen=True, kw_only=True)
class ByeAck(Message):
    """The session's end is on disk."""

    type: ClassVar[str] = "bye_ack"
    session: bytes
    log_id: bytes


@dataclass(frozen=True, kw_only=True)
class Barrier(Message):
    """The sender asks for a ``visible`` message when the run folder holds everything up to ``seq``."""

    type: ClassVar[str] = "barrier"
    session: bytes
    seq: int
    token: int


@dataclass(frozen=True, kw_only=True)
class Visible(Message):
    """The run folder holds everything that the barrier with this token requested."""

    type: ClassVar[str] = "visible"
    session: bytes
    token: int


@dataclass(frozen=True, kw_only=True)
class Alive(Message):
    """The session has nothing to send, and its process is alive."""

    type: ClassVar[str] = "alive"
    session: bytes


@dataclass(frozen=True, kw_only=True)
class Died(Message):
    """The session's process died without an end event; the courier that ships its outbox sends this.

    ``signal`` is 0 if unknown. ``open_gap`` is empty if the number of emitted events is known, else the reason.
    """

    type: ClassVar[str] = "died"
    session: bytes
    reason: str
    signal: int
    open_gap: str


@dataclass(frozen=True, kw_only=True)
class Ping(Message):
    """A client checks whether the collector answers; ``session`` is any 16 bytes, without a meaning."""

    type: ClassVar[str] = "ping"
    session: bytes


@dataclass(frozen=True, kw_only=True)
class Pong(Message):
    """The collector answers: ``time_ns`` is its wall clock, ``uploads`` its port for artifacts, 0 for none."""

    type: ClassVar[str] = "pong"
    session: bytes
    version: str
    time_ns: int
    uploads: int


_TYPES: dict[str, type[Message]] = {
    kind.type: kind
    for kind in (
        Hello, Welcome, Refuse, Data, Ack, GapNotice, Bye, ByeAck, Barrier, Visible, Alive, Died, Ping, Pong,
    )
}  # fmt: skip
_hints: dict[type[Message], dict[str, Any]] = {}  # the type hints of the message types decoded so far


def pack_head(head: dict[str, Any]) -> bytes:
    """Return a message's first part: the CRC-32 of the packed map, then the map."""
    packed: bytes = msgpack.packb(head, use_bin_type=True)
    return _CRC.pack(zlib.crc32(packed)) + packed


def unpack_head(part: bytes) -> dict[str, Any]:
    """Return the map in a message's first part.

    Raises:
        ProtocolError: the part is too long, damaged, or not a map.
    """
    if not _CRC.size <= len(part) <= MAX_HEAD_BYTES:
        raise ProtocolError(f"head of {len(part)} bytes is too short, or over the limit")
    packed = memoryview(part)[_CRC.size :]
    if _CRC.unpack_from(part)[0] != zlib.crc32(packed):
        raise ProtocolError("head is damaged: its checksum does not match")
    try:
        return unpack_map(packed)
    except FormatError as error:
        raise ProtocolError(f"head: {error}") from error


def data_crc(schemas: bytes, payload: bytes) -> int:
    """Return the checksum of a batch's parts: the CRC-32 of the schemas followed by the payload."""
    return zlib.crc32(payload, zlib.crc32(schemas))


def decode(parts: Sequence[bytes], types: Mapping[str, type[Message]] = _TYPES) -> Message:
    """Return the message, one of ``types``, in the parts of one multipart message.

    Unknown keys in the head are ignored, so that a newer minor version may add some.

    Raises:
        ProtocolError: the parts are not a well-formed message of a known type.
    """
    if not parts:
        raise ProtocolError("message has no head")
    head = unpack_head(parts[0])
    tag = head.get("t")
    kind = types.get(tag) if isinstance(tag, str) else None
    if kind is None:
        raise ProtocolError(f"unknown message type {str(tag)[:40]!r}")
    bodies = iter(parts[1:])
    values: dict[str, Any] = {}
    for item in dataclasses.fields(kind):
        if limit := item.metadata.get("part"):
            value: Any = next(bodies, None)
            if value is None or len(value) > limit:
                raise ProtocolError(f"{kind.type}: {item.name} is missing or over {limit} bytes")
        else:
            # A field with a default was added later: older versions do not send it.
            lacks = item.name not in head and item.default is not dataclasses.MISSING
            value = item.default if lacks else head.get(item.name)
            _check(kind, item.name, value)
        values[item.name] = value
    if next(bodies, None) is not None:
        raise ProtocolError(f"{kind.type}: has too many parts")
    return kind(**values)


def _check(kind: type[Message], name: str, value: Any) -> None:
    """Raise ProtocolError unless a head's value has its type and range."""
    if kind not in _hints:
        _hints[kind] = get_type_hints(kind)
    hint = _hints[kind][name]
    if hint is int:
        if type(value) is not int or not 0 <= value <= MAX_NUMBER:
            raise ProtocolError(f"{kind.type}: {name} is not a number from 0 to 2**63-1")
    elif hint is bytes:
        if not isinstance(value, bytes) or len(value) != 16:
            raise ProtocolError(f"{kind.type}: {name} is not 16 bytes")
    elif hint is str:
        if not isinstance(value, str) or len(value) > 1000:
            raise ProtocolError(f"{kind.type}: {name} is not a text of at most 1000 characters")
    elif not isinstance(value, dict):
        raise ProtocolError(f"{kind.type}: {name} is not a map")
