"""Messages that upload artifacts to another host, on a separate socket; see ``docs/wire-protocol.md``.

Session and token name an upload. It consists of files: one with the empty path, or the files of a folder with
their relative paths. Any message may be repeated. A client that lost its position sends ``offer`` again.
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
    """The client has this file of the upload, of ``size`` bytes."""

    type: ClassVar[str] = "offer"
    session: bytes
    token: bytes
    path: str
    size: int


@dataclass(frozen=True, kw_only=True)
class At(Message):
    """The collector has the first ``offset`` bytes of the file; the client shall continue from there."""

    type: ClassVar[str] = "at"
    session: bytes
    token: bytes
    path: str
    offset: int


@dataclass(frozen=True, kw_only=True)
class Chunk(Message):
    """Bytes of the file, beginning at ``offset``; ``crc`` is their CRC-32."""

    type: ClassVar[str] = "chunk"
    session: bytes
    token: bytes
    path: str
    offset: int
    crc: int
    data: bytes = field(metadata={"part": CHUNK_BYTES})


@dataclass(frozen=True, kw_only=True)
class Check(Message):
    """The client has sent the whole file, which has this SHA-256; ``executable`` is 1 or 0."""

    type: ClassVar[str] = "check"
    session: bytes
    token: bytes
    path: str
    size: int
    sha256: str
    executable: int = 0


@dataclass(frozen=True, kw_only=True)
class Whole(Message):
    """The whole file is on the collector's disk and has the expected digest."""

    type: ClassVar[str] = "whole"
    session: bytes
    token: bytes
    path: str


@dataclass(frozen=True, kw_only=True)
class Place(Message):
    """Every file of the upload is complete; the collector shall store it. ``files`` is 0 for a single file."""

    type: ClassVar[str] = "place"
    session: bytes
    token: bytes
    files: int


@dataclass(frozen=True, kw_only=True)
class Placed(Message):
    """The collector has the upload durably; the client may remove its copy.

    ``outcome`` is the result (version, digest, path, …), and empty while it is unknown.
    """

    type: ClassVar[str] = "placed"
    session: bytes
    token: bytes
    outcome: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Unwanted(Message):
    """The collector knows no artifact event for this upload; ``settled`` is 1 if none will ever arrive."""

    type: ClassVar[str] = "unwanted"
    session: bytes
    token: bytes
    settled: int


_TYPES: dict[str, type[Message]] = {
    kind.type: kind for kind in (Offer, At, Chunk, Check, Whole, Place, Placed, Unwanted)
}


def crc(data: bytes) -> int:
    """Return the CRC-32 of a chunk."""
    return zlib.crc32(data)


def decode(parts: Sequence[bytes]) -> Message:
    """Return the upload message in the parts; raises ProtocolError like ``wire.decode``."""
    return wire.decode(parts, _TYPES)
