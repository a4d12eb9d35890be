"""Which run the store is at work on, on disk while it is: so that its death can be laid at the right door.

An exception over one run puts that run into quarantine. A crash of the process (a segmentation fault, a
kill for memory) leaves nobody to do so: the next one would meet the same event, die again, and all other
runs would wait for ever.
"""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path

from neural.tracking.errors import StoreDiedError

DEATHS = 3  # in a row, over the same run: one may have been anybody's kill
NOTHING = bytes(16)
_LAYOUT = struct.Struct("<16s16sI")


class CrashMarker:
    """One small file, written in place and never synced: only deaths of the process matter, not the host's.

    Where it cannot be written the store works without.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._at = self.suspect = self.died_of = NOTHING  # died_of: what the very last one did
        self.deaths = 0

    def open(self) -> None:
        """Take up what a predecessor left: if it was at work on a run, it died of that one."""
        if self._fd >= 0:
            return
        with contextlib.suppress(OSError):
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            left = os.pread(self._fd, _LAYOUT.size, 0)
            if len(left) == _LAYOUT.size:
                self.died_of, self.suspect, self.deaths = _LAYOUT.unpack(left)
                if self.died_of != NOTHING:
                    self.deaths = self.deaths + 1 if self.died_of == self.suspect else 1
                    self.suspect = self.died_of
        self._write()

    def at(self, uid: bytes) -> None:
        """From here on this run is worked on; ``NOTHING``: none."""
        if uid != self._at:
            self._at = uid
            self._write()

    def judge(self, uid: bytes) -> None:
        """Raise StoreDiedError if the process died of this run too often."""
        if uid == self.suspect and self.deaths >= DEATHS:
            raise StoreDiedError(
                f"the store died {self.deaths} times over this run: it crashed, or was killed; "
                f"collector.log may tell more"
            )

    def absolve(self) -> None:
        """The suspect was worked on and nothing happened, or it is dealt with."""
        self.suspect, self.deaths = NOTHING, 0
        self._write()

    def close(self) -> None:
        """Let go of the file; a worker that leaves in good order died of nothing."""
        if self._fd >= 0:
            self.at(NOTHING)
            os.close(self._fd)
            self._fd = -1

    def _write(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.pwrite(self._fd, _LAYOUT.pack(self._at, self.suspect, self.deaths), 0)
