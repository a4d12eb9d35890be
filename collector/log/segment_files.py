"""Segment files of the log: framing, creating, recovering and reading them. Everything here blocks on the disk.

Invariants:

- A file under its final name has a complete, synced head. It is created under a temporary name.
- The ``id`` of every record that the collector writes is the number of its commit group; in the head it is 0.
  Groups are written and synced one after the other. So any byte of group g+1 proves that group g was synced.
- A killed process leaves a prefix of what it wrote: only a record that runs past the end is torn. When the host
  went down, pages may be missing anywhere in the last group of a file that was not sealed. That group was never
  acknowledged, so it is cut at its first damage. All other damage happened later, to bytes that may have been
  acknowledged. It becomes an exact gap, and what follows it counts.
- After a start only what was copied to a new file, synced and renamed counts. Pages that were dirty when a sync
  failed may look written although they are not.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import secrets
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from neural.tracking.collector.log.sessions import Position, SessionState
from neural.tracking.core import files
from neural.tracking.errors import FormatError
from neural.tracking.formats import events, segment
from neural.tracking.formats.segment import Buffer, Damage, Record

NO_SESSION = bytes(16)
SESSION_COPIES = 2  # written twice: without it nothing tells whose batches follow
_REST = struct.Struct("<IHHI")
_CRC = struct.Struct("<I")


class SegmentFile(NamedTuple):
    """A segment file of the log; its name is ``<ordinal>-<uuid>.seg``."""

    ordinal: int
    uuid: bytes
    path: Path

    @classmethod
    def named(cls, folder: Path, ordinal: int, uuid: bytes) -> SegmentFile:
        """Return the segment file with the path that belongs to its ordinal and uuid. Never blocks."""
        return cls(ordinal, uuid, folder / f"{ordinal:08d}-{uuid.hex()}.seg")


class SegmentContent(NamedTuple):
    """What a segment file holds: valid records, the damaged stretches between them, whether it was sealed."""

    records: list[Record]
    damages: list[Damage]
    sealed: bool
    end: int  # offset after the last record that counts


def list_segments(folder: Path) -> list[SegmentFile]:
    """Return the log's segments, oldest first; other files are ignored.

    Raises:
        OSError: the folder cannot be read.
    """
    found = []
    for path in folder.iterdir():
        ordinal, _, uuid = path.stem.partition("-")
        if path.suffix == ".seg" and ordinal.isdigit() and len(uuid) == 32:
            with contextlib.suppress(ValueError):
                found.append(SegmentFile(int(ordinal), bytes.fromhex(uuid), path))
    return sorted(found)


def frame_parts(kind: int, body: Iterable[Buffer], record_seed: int, group: int) -> list[Buffer]:
    """Return the pieces of one padded record; the body's pieces are not copied. Never blocks."""
    pieces = list(body)
    length = segment.FRAME_BYTES + sum(map(len, pieces))
    rest = _REST.pack(length, kind, 0, group & 0xFFFFFFFF)
    crc = zlib.crc32(rest, record_seed)
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    return [_CRC.pack(crc), rest, *pieces, bytes(segment.aligned(length) - length)]


def framed(kind: int, body: Iterable[Buffer], uuid: bytes, offset: int, group: int) -> bytes:
    """Return one padded record for this file offset of the segment ``uuid``. Never blocks."""
    return b"".join(frame_parts(kind, body, segment.seed(uuid, offset - segment.HEADER_BYTES), group))


def head_bytes(uuid: bytes, sessions: Iterable[SessionState]) -> bytes:
    """Return the header of a segment and the snapshot of the open sessions that follows it. Never blocks."""
    head = bytearray(segment.Header(segment.ROLE_LOG, uuid, 0, time.time_ns()).pack())
    for session in sessions:
        about: list[Buffer] = [events.pack_session(session.id, session.uid, session.info)]
        bodies = [(segment.SESSION, about)] * SESSION_COPIES
        if session.schemas:
            bodies.append((segment.SCHEMAS, [session.id, *session.schemas.values()]))
        bodies.append((segment.MARK, [events.pack_mark(session.id, session.durable, session.ended)]))
        for kind, body in bodies:
            head += framed(kind, body, uuid, len(head), 0)
    return bytes(head)


def seal_body() -> bytes:
    """Return the body of the last note of a segment: everything before it was synced. Never blocks."""
    return events.pack_note(NO_SESSION, "sealed", "sealed", time.time_ns())


def read(view: memoryview, uuid: bytes, *, host_went_down: bool = False) -> SegmentContent:
    """Return what the bytes of a segment file hold.

    Args:
        view: the whole file.
        uuid: the uuid in the file's name.
        host_went_down: whether the host stopped since the file was last written.

    Raises:
        FormatError: the header is damaged, or belongs to another segment.
    """
    header = segment.read_header(view[: segment.HEADER_BYTES])
    if header.uuid != uuid or header.role != segment.ROLE_LOG:
        raise FormatError("segment header does not belong to this file")
    records: list[Record] = []
    damages: list[Damage] = []
    for item in segment.scan(view, uuid, base=-segment.HEADER_BYTES, start=segment.HEADER_BYTES):
        records.append(item) if isinstance(item, Record) else damages.append(item)
    end = records[-1].end if records else segment.HEADER_BYTES
    if records and _is_seal(records[-1]):
        return SegmentContent(records, [d for d in damages if d.start < end], True, end)
    cut = _first_lost(view, records, damages) if host_went_down else _torn_start(view, damages)
    if cut is not None:
        records = [record for record in records if record.pos < cut]
        damages = [damage for damage in damages if damage.start < cut]
    ends = [record.end for record in records[-1:]] + [damage.end for damage in damages[-1:]]
    last = max(ends, default=segment.HEADER_BYTES)
    return SegmentContent(records, damages, False, last)


def _is_seal(record: Record) -> bool:
    if record.kind != segment.NOTE or bytes(record.body[:16]) != NO_SESSION:
        return False
    return bool(events.unpack_note(record.body)[1]["kind"] == "sealed")


def _torn_start(view: memoryview, damages: list[Damage]) -> int | None:
    """Return the offset of the record that a killed process had not written in full; None if there is none."""
    if not damages or damages[-1].end < len(view) or _claimed_group(view, damages[-1]) is not None:
        return None
    return damages[-1].start


def _first_lost(view: memoryview, records: list[Record], damages: list[Damage]) -> int | None:
    """Return the offset of the first damage in or after the last group; None if there is none."""
    group_start = segment.HEADER_BYTES
    for record in reversed(records):
        if record.id != records[-1].id:
            break
        group_start = record.pos
    for damage in damages:
        if damage.end == group_start:  # it belongs to the end of the previous group, or to the last group
            group = _claimed_group(view, damage)
            if group is None or group == records[-1].id:
                return damage.start
        elif damage.end > group_start:
            return damage.start
    return None


def _claimed_group(view: memoryview, damage: Damage) -> int | None:
    """Return the group number of the one record that a damaged stretch seems to be; None if it is none."""
    if damage.end - damage.start < segment.FRAME_BYTES:
        return None
    length, kind, _, group = _REST.unpack_from(view, damage.start + 4)
    whole = damage.start + segment.aligned(length) == damage.end
    return int(group) if whole and kind in segment.KINDS else None


def claimed_batch(view: memoryview, damage: Damage) -> events.Batch | None:
    """Return the batch that a damaged stretch seems to have been. It is a hint: no checksum holds."""
    body = view[damage.start + segment.FRAME_BYTES : damage.end]
    if _claimed_group(view, damage) is None or len(body) < events.BATCH_HEAD_BYTES:
        return None
    return events.unpack_batch(body)


@contextlib.contextmanager
def mapped_view(path: Path) -> Iterator[memoryview]:
    """Map a file for reading; views into it must not be used afterwards.

    Raises:
        OSError: the file cannot be opened or mapped.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            yield memoryview(b"")
            return
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    yield memoryview(mapped)  # the map is closed with the last view into it


def copy_valid(segment_file: SegmentFile, view: memoryview, found: SegmentContent) -> None:
    """Replace the file with a synced copy of what counts; a damaged stretch becomes a hole of the same length.

    Raises:
        OSError: the disk failed; the file is unchanged.
    """
    temporary = segment_file.path.with_suffix(".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        start = 0
        for damage in [*found.damages, Damage(found.end, found.end)]:
            files.write_all(fd, view[start : damage.start], start)
            start = damage.end
        os.ftruncate(fd, found.end)
        os.fsync(fd)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    os.rename(temporary, segment_file.path)
    files.fsync_dir(segment_file.path.parent)


def log_id(folder: Path) -> bytes:
    """Return the log's identity, 16 bytes. It is created with the log's folder: a new folder is a new log.

    Raises:
        OSError: the folder cannot be created or written.
    """
    if not folder.is_dir():
        folder.mkdir(mode=0o700)
    files.fsync_upwards(folder.parent)  # a trainer created these folders and did not sync them
    path = folder / "id"
    with contextlib.suppress(ValueError, TypeError, KeyError):
        stored = files.read_json(path)
        if stored is not None:
            identity = bytes.fromhex(stored["log_id"])
            if len(identity) == 16:
                return identity
    identity = secrets.token_bytes(16)
    files.atomic_write(path, json.dumps({"log_id": identity.hex()}).encode(), mode=0o600)
    return identity


def position(segment_file: SegmentFile, offset: int) -> Position:
    """Return the position at this file offset of the segment. Never blocks."""
    return Position(segment_file.ordinal, offset, segment_file.uuid)
