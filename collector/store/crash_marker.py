"""Records on disk which run the store is working on: after a crash its successor suspects that run.

An exception over one run puts that run into quarantine. After a crash of the process (a segmentation fault, a
kill for memory) nobody is left to do so: the next process would meet the same event and crash again, and all
other runs would wait for ever.
"""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path

from neural.tracking.errors import StoreDiedError

DEATHS = 3  # in a row, over the same run; a single one may be a kill that had nothing to do with the run
NOTHING = bytes(16)
_LAYOUT = struct.Struct("<16s16sI")


class CrashMarker:
    """One small file, written in place. It is never synced: crashes of the host do not count.

    Where it cannot be written, the store works without it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._at = self.suspect = self.died_of = NOTHING  # died_of: over which run the last process died
        self.deaths = 0

    def open(self) -> None:
        """Read what a predecessor left: if the file names a run, the predecessor died over that run."""
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
        """Record that this run is worked on from now on; ``NOTHING``: none."""
        if uid != self._at:
            self._at = uid
            self._write()

    def raise_if_suspect(self, uid: bytes) -> None:
        """Raise StoreDiedError if the process died over this run too often."""
        if uid == self.suspect and self.deaths >= DEATHS:
            raise StoreDiedError(
                f"the store died {self.deaths} times over this run: it crashed, or was killed; "
                f"collector.log may tell more"
            )

    def clear_suspect(self) -> None:
        """Suspect no run: the suspect was worked on without a crash, or it is in quarantine now."""
        self.suspect, self.deaths = NOTHING, 0
        self._write()

    def close(self) -> None:
        """Close the file; a worker that leaves in good order did not crash."""
        if self._fd >= 0:
            self.at(NOTHING)
            os.close(self._fd)
            self._fd = -1

    def _write(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.pwrite(self._fd, _LAYOUT.pack(self._at, self.suspect, self.deaths), 0)
