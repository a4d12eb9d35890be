"""The files of an outbox on disk, and reading an orphan, whose owner is gone.

An outbox is a folder of one session: ``owner.lock``, ``session.json``, ``control`` and segments. Its owner
writes it (``neural.tracking.agent``). A collector or courier that finds it unlocked recovers it with this
module. Recovery never trusts the head pointer: it scans all records. Numbers that the control page names and
that no valid record holds are a gap. Reading changes nothing.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from neural.tracking.core import os_support
from neural.tracking.core.files import is_still_at, matching
from neural.tracking.errors import FormatError
from neural.tracking.formats import events, segment

LOCK_NAME = "owner.lock"
INFO_NAME = "session.json"
CONTROL_NAME = "control"
CONTROL_BYTES = 4096
NUMBER_AT, HEAD_AT, GAP_AT, RELEASED_AT = 0, 64, 128, 192  # offsets in the control page
NUMBER = struct.Struct("<Qq")  # a number and its bitwise complement
REMOVED_PREFIX = ".tmp-removed-"
ADOPTED_SUFFIX = ".adopting"

_FREE = bytes(len(segment.MAGIC))


class OutboxInfo(NamedTuple):
    """Session and run of an outbox; ``info`` is the session's description for HELLO."""

    session: bytes
    uid: bytes
    info: dict[str, Any]


class OutboxPiece(NamedTuple):
    """Consecutive bytes of the stream, with all numbers ``first..last`` as events or gaps."""

    first: int
    last: int
    base: int
    payload: bytes


class LostNumbers(NamedTuple):
    """Numbers that were emitted and are not in the outbox, with the reason of the gap."""

    first: int
    last: int
    reason: str


class _Segment(NamedTuple):
    base: int  # stream offset of the first byte of the file
    path: Path


def pack_info(session: bytes, uid: bytes, info: dict[str, Any]) -> bytes:
    """Return the content of ``session.json``."""
    value: dict[str, Any] = {"session": session.hex(), "uid": uid.hex(), "info": info}
    return json.dumps({**value, "crc": _info_crc(value)}, indent=1).encode()


def read_info(folder: Path) -> OutboxInfo:
    """Return session and run of the outbox ``folder``.

    Raises:
        FormatError: ``session.json`` is damaged.
        OSError: it cannot be read.
    """
    try:
        value = json.loads((folder / INFO_NAME).read_bytes())
        crc = value.pop("crc")
        session, uid = bytes.fromhex(value["session"]), bytes.fromhex(value["uid"])
        info = value["info"]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise FormatError(f"{folder / INFO_NAME} does not describe a session: {error!r}") from error
    if crc != _info_crc(value) or len(session) != 16 or len(uid) != 16 or not isinstance(info, dict):
        raise FormatError(f"{folder / INFO_NAME} is damaged: its checksum does not match")
    return OutboxInfo(session, uid, info)


def _info_crc(value: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def claim(folder: Path) -> int | None:
    """Take the owner's lock of an orphan. Does not wait for the lock.

    A missing lock file is created: a power loss may have removed it.

    Returns:
        The open descriptor that holds the lock (keep it until the folder is deleted). None if the owner is
        alive or is this process, or if the folder was replaced or removed meanwhile.
    """
    path = folder / LOCK_NAME
    try:
        if is_owned(folder):
            return None
    except (FormatError, OSError):
        pass
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        return None
    if os_support.own_record_lock(fd) and is_still_at(path, fd):
        return fd
    os.close(fd)
    return None


def is_owned(folder: Path) -> bool:
    """Return whether the owner process is alive and has not released the outbox, regardless of its lock.

    A process loses its record locks on a file when it closes any descriptor of the file; copying the folder
    is enough. Raises FormatError and OSError like :func:`read_info`.
    """
    info = read_info(folder).info
    pid, started = info.get("pid"), info.get("start_time")
    if not isinstance(pid, int) or not isinstance(started, int) or not started:
        return bool(pid == os.getpid())
    if info.get("boot_id") != os_support.boot_id() or not os_support.process_lives(pid, started):
        return False
    return read_number((folder / CONTROL_NAME).read_bytes(), RELEASED_AT) != 1


def remove(folder: Path) -> None:
    """Remove an outbox whose lock the caller holds. It is renamed first, so its name never holds a partial one.

    Raises:
        OSError: it is unchanged, or a rest remains under a temporary name, which a collector removes later.
    """
    import shutil

    doomed = folder.with_name(REMOVED_PREFIX + folder.name.removesuffix(ADOPTED_SUFFIX))
    os.rename(folder, doomed)
    shutil.rmtree(doomed)


def read_number(control: segment.Buffer, at: int) -> int | None:
    """Return the number at offset ``at`` of the control page; None if it is damaged."""
    if len(control) < at + NUMBER.size:
        return None
    number, complement = NUMBER.unpack_from(control, at)
    return int(number) if number == ~complement & (2**64 - 1) else None


def host_went_down(info: Mapping[str, Any]) -> bool:
    """Return whether the host was restarted since the session began; False if unknown."""
    then, now = info.get("boot_id"), os_support.boot_id()
    return bool(then and now and then != now)


def is_blank(folder: Path, session: bytes) -> bool:
    """Return whether the outbox holds no event of the session and no sign of one; raises OSError."""
    return next(Orphan(folder, OutboxInfo(session, bytes(16), {})).pieces(), None) is None


class Orphan:
    """An outbox whose owner is gone; the caller holds its lock. The methods block on the disk.

    Args:
        folder: the outbox.
        info: the content of ``session.json``, if it is already known.

    Raises:
        FormatError: ``session.json`` is damaged.
        OSError: the folder cannot be read.
    """

    def __init__(self, folder: Path, info: OutboxInfo | None = None) -> None:
        self.folder = folder
        self.session, self.uid, self.info = info or read_info(folder)
        try:
            control = (folder / CONTROL_NAME).read_bytes()
        except FileNotFoundError:
            control = b""
        self._last = read_number(control, NUMBER_AT) or 0
        self._unwritten_gap = read_number(control, GAP_AT) or 0
        self._segments = self._find_segments()

    @property
    def emitted(self) -> int:
        """The number of events that the session emitted, as far as the outbox shows; scans two segments."""
        seen = 0
        for item in self._segments[-2:]:
            for record in self._records(item):
                if isinstance(record, segment.Record):
                    seen = max(seen, last_number(record))
        return max(self._last, seen)

    def schemas(self) -> bytes:
        """Return the SCHEMA records in the outbox, each id once, padded; scans all segments."""
        found: dict[int, bytes] = {}
        for item in self._segments:
            for record in self._records(item):
                if isinstance(record, segment.Record) and record.kind == segment.SCHEMA:
                    found.setdefault(
                        record.id,
                        segment.frame(
                            segment.SCHEMA,
                            record.body,
                            record_seed=segment.schema_seed(self.session, record.id),
                            record_id=record.id,
                        ),
                    )
        return b"".join(found.values())

    def pieces(
        self, after: int = 0, most_bytes: int = segment.MAX_BATCH_BYTES
    ) -> Iterator[OutboxPiece | LostNumbers]:
        """Yield everything emitted after number ``after``, in order and without a hole.

        Blocks: it reads and checks every byte, so do not call it on an event loop.

        Args:
            after: the last number that is not needed.
            most_bytes: the maximum size of one piece.
        """
        known = after
        for item in self._segments:
            for piece in self._pieces_of(item, known, most_bytes):
                yield piece
                known = piece.last
        if self._last > known:
            yield from self._tail(known)

    def _tail(self, known: int) -> Iterator[LostNumbers]:
        """Yield the last numbers, which only the control page names."""
        gap = self._unwritten_gap
        if gap and known < gap <= self._last:
            if gap > known + 1:
                yield LostNumbers(known + 1, gap - 1, self._reason())
            yield LostNumbers(gap, self._last, "outbox_full")
        else:
            yield LostNumbers(known + 1, self._last, self._reason())

    def _pieces_of(self, item: _Segment, known: int, most_bytes: int) -> Iterator[OutboxPiece | LostNumbers]:
        data = memoryview(item.path.read_bytes())
        start = end = 0  # the current piece is data[start:end], its numbers are first..known
        first = known + 1

        def gathered() -> Iterator[OutboxPiece]:
            if end > start and known >= first:
                yield OutboxPiece(first, known, item.base + start, bytes(data[start:end]))

        for record in segment.scan(data, self.session, base=item.base, start=segment.HEADER_BYTES):
            if isinstance(record, segment.Damage):
                continue
            low, high = events.numbers(record)
            adjoins = record.pos == end and record.end - start <= most_bytes
            follows = high is None or low == known + 1
            if not (adjoins and follows):
                yield from gathered()
                start, first = record.pos, known + 1
                end = start
            if low is None or high is None:
                end = record.end
                continue
            if high <= known:
                start = end = record.end
                continue
            if low > known + 1:
                yield LostNumbers(known + 1, low - 1, self._reason())
                first = low
            elif low <= known:  # a gap of which the caller has the first part
                yield LostNumbers(known + 1, high, events.unpack_gap(record.body).reason)
                known, first = high, high + 1
                start = end = record.end
                continue
            known, end = high, record.end
        yield from gathered()

    @property
    def host_went_down(self) -> bool:
        """Whether the host was restarted since the session began, so that written pages may be lost."""
        return host_went_down(self.info)

    def _reason(self) -> str:
        return "host_lost_power" if self.host_went_down else "damaged"

    def _records(self, item: _Segment) -> Iterator[segment.Record | segment.Damage]:
        data = memoryview(item.path.read_bytes())
        return segment.scan(data, self.session, base=item.base, start=segment.HEADER_BYTES)

    def _find_segments(self) -> list[_Segment]:
        """Return the segments in stream order; for a damaged header, the valid records show the offset."""
        found: list[_Segment] = []
        damaged: list[Path] = []
        for path in matching(self.folder, "*.seg"):
            with path.open("rb") as file:
                head = file.read(segment.HEADER_BYTES)
            if head[: len(_FREE)] in (_FREE, b""):
                continue
            try:
                header = segment.read_header(head)
            except FormatError:
                damaged.append(path)
                continue
            if header.uuid == self.session:
                found.append(_Segment(header.base - segment.HEADER_BYTES, path))
        found.sort()
        for path in damaged:
            found.extend(self._place(path, found))
            found.sort()
        return found

    def _place(self, path: Path, others: list[_Segment]) -> list[_Segment]:
        """Return the segment with the stream offset at which its first record is valid; empty if none."""
        data = memoryview(path.read_bytes())
        for offset in [0, *(self._end(item) for item in others)]:
            base = offset - segment.HEADER_BYTES
            if segment.record_at(data, segment.HEADER_BYTES, self.session, base, len(data)):
                return [_Segment(base, path)]
        return []

    def _end(self, item: _Segment) -> int:
        """Return the stream offset after the segment's last valid record."""
        ends = [record.end for record in self._records(item) if isinstance(record, segment.Record)]
        return item.base + (ends[-1] if ends else segment.HEADER_BYTES)


def last_number(record: segment.Record) -> int:
    """Return the last number that a record accounts for, 0 if none."""
    return events.numbers(record)[1] or 0
