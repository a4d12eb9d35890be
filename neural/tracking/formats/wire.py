"""Messages between a sender and the collector, and their checks.

``docs/wire-protocol.md`` is the normative text. A message is a ZeroMQ multipart: a head, which is a
checksum and a msgpack map that names the type, then the parts of that type. Decoding never trusts its
input: whatever a peer sends, or a wire makes of it, :func:`decode` returns a message or raises
:class:`ProtocolError`.
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
VIA = "via"  # in a session's info: under which allowed name it came over TCP; set by the collector alone
EMITTED = "emitted"  # in a HELLO's info, said for a process that is gone: how many numbers its outbox has seen
MAX_HEAD_BYTES = 64 << 10
MAX_SCHEMAS_BYTES = 5 << 20
MAX_PAYLOAD_BYTES = 1 << 20
MAX_PART_BYTES = MAX_SCHEMAS_BYTES  # for ZeroMQ's own limit on both ends
MAX_NUMBER = 2**63 - 1

_CRC = struct.Struct("<I")


@dataclass(frozen=True, kw_only=True)
class Message:
    """Base of all messages: fields travel in the head, except those marked as parts."""

    type: ClassVar[str]

    def encode(self) -> list[bytes]:
        """Return the parts to hand to ZeroMQ."""
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
    """A session asks to be taken; ``info`` is its description."""

    type: ClassVar[str] = "hello"
    protocol: int
    version: str
    session: bytes
    uid: bytes
    info: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Welcome(Message):
    """The collector has everything of the session up to ``last`` on disk; send from there.

    ``notice`` is for people: what the session asked for and does not get. Older collectors send none.
    """

    type: ClassVar[str] = "welcome"
    session: bytes
    log_id: bytes
    last: int
    window: int
    notice: str = ""


@dataclass(frozen=True, kw_only=True)
class Refuse(Message):
    """The collector does not take this session; ``code`` is for programs, ``reason`` for people."""

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
    """Everything up to ``last`` is on disk, or recorded as a gap there."""

    type: ClassVar[str] = "ack"
    session: bytes
    log_id: bytes
    last: int
    window: int


@dataclass(frozen=True, kw_only=True)
class GapNotice(Message):
    """The sender no longer has ``first..last``."""

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
    """Tell when the run folder holds everything up to ``seq``."""

    type: ClassVar[str] = "barrier"
    session: bytes
    seq: int
    token: int


@dataclass(frozen=True, kw_only=True)
class Visible(Message):
    """The run folder holds everything the barrier with this token asked for."""

    type: ClassVar[str] = "visible"
    session: bytes
    token: int


@dataclass(frozen=True, kw_only=True)
class Alive(Message):
    """The session has nothing to say, and its process is there."""

    type: ClassVar[str] = "alive"
    session: bytes


@dataclass(frozen=True, kw_only=True)
class Died(Message):
    """The session's process is gone without an end; from whoever ships what it left on its host.

    ``signal`` is 0 where none is known, ``open_gap`` empty where all that was emitted is known.
    """

    type: ClassVar[str] = "died"
    session: bytes
    reason: str
    signal: int
    open_gap: str


@dataclass(frozen=True, kw_only=True)
class Ping(Message):
    """Are you there, and what time is it? ``session`` is any 16 bytes, of nothing."""

    type: ClassVar[str] = "ping"
    session: bytes


@dataclass(frozen=True, kw_only=True)
class Pong(Message):
    """I am; ``time_ns`` is the collector's wall clock, ``uploads`` the port for artifacts, 0 for none."""

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
_hints: dict[type[Message], dict[str, Any]] = {}  # of the kinds that were met


def pack_head(head: dict[str, Any]) -> bytes:
    """Return a message's first part: the CRC-32 of the packed map, then the map."""
    packed: bytes = msgpack.packb(head, use_bin_type=True)
    return _CRC.pack(zlib.crc32(packed)) + packed


def unpack_head(part: bytes) -> dict[str, Any]:
    """Return the map of a message's first part.

    Raises:
        ProtocolError: too long, damaged, or no map.
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
    """Return the checksum of a batch's parts: the CRC-32 of one after the other."""
    return zlib.crc32(payload, zlib.crc32(schemas))


def decode(parts: Sequence[bytes], types: Mapping[str, type[Message]] = _TYPES) -> Message:
    """Return the message in the parts of one multipart message, one of ``types``.

    Unknown keys in the head are ignored, so that a newer minor version may add some.

    Raises:
        ProtocolError: anything else than a well-formed message of a known type.
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
            # A field with a default came with a later version: others do not send it.
            lacks = item.name not in head and item.default is not dataclasses.MISSING
            value = item.default if lacks else head.get(item.name)
            _check(kind, item.name, value)
        values[item.name] = value
    if next(bodies, None) is not None:
        raise ProtocolError(f"{kind.type}: more parts than it has")
    return kind(**values)


def _check(kind: type[Message], name: str, value: Any) -> None:
    """Raise ProtocolError unless a head's value has its type and range."""
    if kind not in _hints:
        _hints[kind] = get_type_hints(kind)
    hint = _hints[kind][name]
    if hint is int:
        if type(value) is not int or not 0 <= value <= MAX_NUMBER:
            raise ProtocolError(f"{kind.type}: {name} is no number from 0 to 2**63-1")
    elif hint is bytes:
        if not isinstance(value, bytes) or len(value) != 16:
            raise ProtocolError(f"{kind.type}: {name} is not 16 bytes")
    elif hint is str:
        if not isinstance(value, str) or len(value) > 1000:
            raise ProtocolError(f"{kind.type}: {name} is no text of at most 1000 characters")
    elif not isinstance(value, dict):
        raise ProtocolError(f"{kind.type}: {name} is no map")
