"""Messages that bring artifacts from another host, on a socket of their own; see ``docs/wire-protocol.md``.

An upload is named by session and token and consists of files: one with the empty path, or those of a
folder by their relative paths. All of it can be said again at any time; whoever lost track says ``offer``.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from neural.tracking.formats import wire
from neural.tracking.formats.wire import Message

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Offer(Message):
    """I have this file of the upload, of ``size`` bytes."""

    type: ClassVar[str] = "offer"
    session: bytes
    token: bytes
    path: str
    size: int


@dataclass(frozen=True, kw_only=True)
class At(Message):
    """The collector has the first ``offset`` bytes of the file: send from there."""

    type: ClassVar[str] = "at"
    session: bytes
    token: bytes
    path: str
    offset: int


@dataclass(frozen=True, kw_only=True)
class Chunk(Message):
    """Bytes of the file from ``offset`` on; ``crc`` is their CRC-32."""

    type: ClassVar[str] = "chunk"
    session: bytes
    token: bytes
    path: str
    offset: int
    crc: int
    data: bytes = field(metadata={"part": CHUNK_BYTES})


@dataclass(frozen=True, kw_only=True)
class Check(Message):
    """All of the file was sent; its SHA-256 is this. ``executable`` is 1 if it is; older senders omit it."""

    type: ClassVar[str] = "check"
    session: bytes
    token: bytes
    path: str
    size: int
    sha256: str
    executable: int = 0


@dataclass(frozen=True, kw_only=True)
class Whole(Message):
    """The file is on the collector's disk, and has that digest."""

    type: ClassVar[str] = "whole"
    session: bytes
    token: bytes
    path: str


@dataclass(frozen=True, kw_only=True)
class Place(Message):
    """Every file of the upload is whole: take it. ``files`` is 0 where it is one file and no folder."""

    type: ClassVar[str] = "place"
    session: bytes
    token: bytes
    files: int


@dataclass(frozen=True, kw_only=True)
class Placed(Message):
    """The collector has all of it durably: it need not be kept any longer.

    ``outcome`` says what became of it (version, digest, path, …), and is empty while that is not known.
    """

    type: ClassVar[str] = "placed"
    session: bytes
    token: bytes
    outcome: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Unwanted(Message):
    """No artifact event asks for this; ``settled`` is 1 where none ever will."""

    type: ClassVar[str] = "unwanted"
    session: bytes
    token: bytes
    settled: int


_TYPES: dict[str, type[Message]] = {
    kind.type: kind for kind in (Offer, At, Chunk, Check, Whole, Place, Placed, Unwanted)
}


def crc(data: bytes) -> int:
    """Return the checksum of a chunk."""
    return zlib.crc32(data)


def decode(parts: Sequence[bytes]) -> Message:
    """Return the message; raises ProtocolError as :func:`neural.tracking.formats.wire.decode`."""
    return wire.decode(parts, _TYPES)
