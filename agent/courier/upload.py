"""The upload of one spool entry to a collector on another host: a state machine, driven by one thread.

The collector reports how much of a file it has. The upload continues from there after a lost connection, a
kill on either side, or a restart. Whenever an answer is unexpected, the file is offered again.
"""

from __future__ import annotations

import enum
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neural.tracking.formats import upload_wire
from neural.tracking.formats.upload_wire import At, Check, Chunk, Offer, Place, Placed, Unwanted, Whole
from neural.tracking.formats.wire import Message
from neural.tracking.state import spool

AGAIN_S = 5.0  # without an answer, the message is sent again
HASHED_S, HASH_PIECE_BYTES = 0.02, 1 << 20  # time a turn for hashing bytes that this process did not send
UNWANTED_S = 0.5  # before the next offer of a file that no event names yet
ASK_EVERY_S, ASK_FOR_S = 0.3, 60.0  # requests for the outcome, once the collector has everything


class _Phase(enum.Enum):
    OFFER = "the next file must be offered"
    OFFERED = "waits for how much of the file the collector has"
    SENDING = "chunks are sent, and answers report how much arrived"
    CHECKED = "waits while the collector compares digests"
    PLACE = "all files are complete; the collector must take them"
    PLACING = "waits for the collector to confirm that it took them"
    ASKING = "the collector has everything; waits for the version that it became"


class Upload:
    """The upload of one file or folder of the spool.

    Args:
        entry: its path.
        ended: returns whether the collector has the end of the session that logged it.
    """

    def __init__(self, entry: Path, ended: Callable[[], bool]) -> None:
        self.entry = entry
        self.done = False
        self.unanswered = 0  # messages since the last answer; a collector without room does not answer
        self.is_sent = False  # the collector has everything; only the outcome is missing
        self._ask_until_s = 0.0
        self._who = {"session": bytes.fromhex(entry.parent.name), "token": bytes.fromhex(entry.name)}
        self._ended, self._offered_after_end = ended, False
        self._folder = entry.is_dir()
        self._files = _list(entry) if self._folder else [""]
        self._fd = -1
        self._answered_s = self._deadline_s = self._not_before_s = 0.0
        self._index = 0
        self._begin_file()
        self._phase = _Phase.OFFER

    @property
    def token(self) -> bytes:
        """The token that identifies the entry, 16 bytes."""
        return self._who["token"]

    @property
    def in_flight_bytes(self) -> int:
        """The number of bytes that were sent and not yet answered."""
        return self._sent - self._acked if self._phase is _Phase.SENDING else 0

    def next(self, now: float, most_bytes: int) -> Message | None:
        """Return the next message, None while there is none; may read and hash the file for some 20 ms.

        Args:
            now: of ``time.monotonic``.
            most_bytes: the largest chunk; 0 for none.

        Raises:
            OSError: the file cannot be read, or became shorter.
        """
        if self._phase in (_Phase.OFFERED, _Phase.PLACING) and now > self._deadline_s:
            self.unanswered += 1
            self.offer_again()
        if self._phase is _Phase.CHECKED and now > self._deadline_s:
            return self._check(now)  # the answer may be late, or lost
        if self._phase is _Phase.OFFER and now >= self._not_before_s:
            self._open()
            self._offered_after_end = self._ended()
            return self._expecting(_Phase.OFFERED, Offer(**self._who, path=self._path, size=self._size), now)
        if self._phase is _Phase.PLACE and now >= self._not_before_s:
            files = len(self._files) if self._folder else 0
            return self._expecting(_Phase.PLACING, Place(**self._who, files=files), now)
        if self._phase is _Phase.SENDING:
            return self._next_of_file(now, most_bytes)
        if self._phase is _Phase.ASKING and now > self._not_before_s:
            self._not_before_s, self.done = now + ASK_EVERY_S, now > self._ask_until_s
            return Place(**self._who, files=0)
        return None

    def handle(self, message: Message, now: float) -> None:
        """Process an answer of the collector; ignore an outdated one. May remove the entry; raises OSError."""
        self._answered_s, self.unanswered = now, 0
        if isinstance(message, Placed):
            self._placed(message.outcome, now)
        elif self.is_sent:
            self.done = isinstance(message, Unwanted)  # the outcome cannot be known any more
        elif isinstance(message, Unwanted):
            if message.settled and self._offered_after_end:
                self._finish()  # no event will name it: the event was never out, or it is stored already
            self.offer_again()
            self._not_before_s = now + UNWANTED_S
        elif isinstance(message, At | Whole) and [message.path] == self._files[self._index :][:1]:
            if isinstance(message, At):
                self._at(message.offset)
            elif self._phase is _Phase.CHECKED:
                self._whole()

    def offer_again(self) -> None:
        """Return to the offer of the current file, after a new connection or a missing answer."""
        if self.is_sent:
            return
        self._phase = _Phase.OFFER if self._index < len(self._files) else _Phase.PLACE

    def close(self) -> None:
        """Close the current file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def _path(self) -> str:
        return self._files[self._index]

    def _begin_file(self) -> None:
        self._size = self._acked = self._sent = self._hashed = 0
        self._digest = hashlib.sha256()

    def _expecting(self, phase: _Phase, message: Message, now: float) -> Message:
        self._phase, self._deadline_s = phase, now + AGAIN_S
        return message

    def _open(self) -> None:
        if self._fd < 0:
            path = self.entry / self._path if self._path else self.entry
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._size = os.fstat(self._fd).st_size

    def _next_of_file(self, now: float, most_bytes: int) -> Message | None:
        if self._sent < self._size and most_bytes > 0:
            return self._chunk(min(most_bytes, upload_wire.CHUNK_BYTES))
        if self._acked == self._size:
            return self._check(now) if self._hash_rest() else None
        if self.in_flight_bytes and now - self._answered_s > AGAIN_S:
            self.offer_again()
        return None

    def _check(self, now: float) -> Message:
        sha256 = self._digest.hexdigest()
        executable = int(bool(os.fstat(self._fd).st_mode & 0o111))
        check = Check(**self._who, path=self._path, size=self._size, sha256=sha256, executable=executable)
        return self._expecting(_Phase.CHECKED, check, now)

    def _chunk(self, most_bytes: int) -> Message:
        data = os.pread(self._fd, min(most_bytes, self._size - self._sent), self._sent)
        if not data:
            raise OSError(5, "a snapshot in the spool became shorter", str(self.entry))
        if self._hashed == self._sent:
            self._digest.update(data)
            self._hashed += len(data)
        self._sent += len(data)
        offset = self._sent - len(data)
        return Chunk(**self._who, path=self._path, offset=offset, crc=upload_wire.crc(data), data=data)

    def _hash_rest(self) -> bool:
        """Hash a part of the bytes that this process did not send; return whether the whole file is hashed."""
        until_s = time.monotonic() + HASHED_S
        while self._hashed < self._size and time.monotonic() < until_s:
            data = os.pread(self._fd, HASH_PIECE_BYTES, self._hashed)
            if not data:
                raise OSError(5, "a snapshot in the spool became shorter", str(self.entry))
            self._digest.update(data)
            self._hashed += len(data)
        return self._hashed >= self._size

    def _at(self, offset: int) -> None:
        """Continue at ``offset``: the collector has the bytes before it."""
        if offset > self._size or self._phase not in (_Phase.OFFERED, _Phase.SENDING, _Phase.CHECKED):
            return
        if self._phase is not _Phase.SENDING or not self._acked < offset <= self._sent:
            self._sent = offset  # the first answer, or the collector did not take the last chunks
        self._acked = offset
        self._phase = _Phase.SENDING

    def _whole(self) -> None:
        self.close()
        self._index += 1
        self._begin_file()
        self.offer_again()

    def _placed(self, outcome: dict[str, Any], now: float) -> None:
        """Remove the entry, which the collector has, and record its outcome once it is known."""
        if outcome:
            spool.note_outcome(self.entry, outcome)
        if not self.is_sent:
            self._finish()
            self.is_sent, self._phase, self._ask_until_s = True, _Phase.ASKING, now + ASK_FOR_S
        self.done = bool(outcome)

    def _finish(self) -> None:
        self.done = True
        self.close()
        spool.remove(self.entry)


def _list(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())
