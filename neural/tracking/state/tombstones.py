"""Runs that were removed, and what came of them afterwards: ``.ntrack/tombstones``, for ever.

``<uid>`` says that the run was removed. A removal covers the sessions opened before it; a later one under
the same uid, say of ``NTRACK_RUN_ID`` or a job that is queued again, is a run like any other. No clock
decides which is which, since those of two hosts differ: every removal has a random name, the tombstone
bears the newest, and a session says after which one it was opened (``after`` in its info).

A session on another host cannot see the tombstone. The collector knows which of these came before the
removal, since they are named in it; any other it lets in, and adds to its info what it could not know.

``<uid>-<c>.jsonl`` accounts for what a covered session emitted, all of which is the gap ``run_deleted``: one
line a session, in the form of events lines, before its outbox goes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from neural.tracking.core.files import fsync_dir, fsync_upwards, json_checksum, read_regular, write_json
from neural.tracking.formats import event_lines

AFTER = "after"  # in a session's info: the removal it was opened after; absent where there was none
RUN_DELETED = "run_deleted"  # the reason of the gap
NONE, FORMER, UNKNOWN = "", "0", "?"  # no removal; of a release that gave no names; its name is damaged
FORMAT = 1
_ACCOUNT = re.compile(r"([0-9a-f]{32})-[0-9a-f]{8}\.jsonl")


class Tombstone(NamedTuple):
    """One run's: the name of its newest removal, its folder then, and sessions of other hosts it had."""

    removal: str
    folder: str = ""
    afar: frozenset[str] = frozenset()

    def covers(self, info: Mapping[str, Any]) -> bool:
        """Return whether a session with this info was opened before the run was removed."""
        after = info.get(AFTER, NONE)
        # Where a name is damaged, who was opened after some removal is let in: rather twice than lost.
        return bool(after != self.removal and not (after and UNKNOWN in (after, self.removal)))


@dataclass
class Late:
    """What a covered session emitted; ``exact``: as its outbox says, else there may be more."""

    n: int = 0
    rank: int = 0
    exact: bool = False

    @classmethod
    def of(cls, info: Mapping[str, Any], n: int, *, exact: bool = False) -> Late:
        """Return the account of a session with this info."""
        rank = info.get("rank")
        return cls(n, rank if isinstance(rank, int) else 0, exact)


class Tombstones:
    """The tombstones of one ``base_dir``; blocks on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, uid: bytes) -> Tombstone | None:
        """Return the run's tombstone, None where it was not removed.

        Raises:
            OSError: it cannot be read.
        """
        try:
            data = read_regular(self._folder / uid.hex())
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not data:
            return Tombstone(FORMER)
        try:
            found = json.loads(data)
            crc = found.pop("crc")
            if crc == json_checksum(found) and found["format"] == FORMAT:
                return Tombstone(str(found["removal"]), str(found["folder"]), frozenset(found["afar"]))
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            pass
        return Tombstone(UNKNOWN)

    def newest(self, uid: bytes) -> str:
        """Return the name of the run's newest removal, for a session that is opened now; never raises."""
        try:
            found = self.of(uid)
        except OSError:
            return UNKNOWN
        return NONE if found is None else found.removal

    def covers(self, uid: bytes, info: Mapping[str, Any]) -> bool:
        """Return whether a session of the run was opened before it was removed; raises as :meth:`of`."""
        found = self.of(uid)
        return found is not None and found.covers(info)

    def add(self, uid: bytes, folder: str = "", afar: Iterable[str] = ()) -> Tombstone:
        """Remove the run, once more where it was removed before; durable when this returns.

        Args:
            uid: whose.
            folder: its name.
            afar: the sessions of other hosts it has; those of earlier removals are kept.

        Raises:
            OSError: it was not recorded.
        """
        with contextlib.suppress(FileExistsError):
            self._folder.mkdir(parents=True)
            fsync_upwards(self._folder.parent)
        before = self.of(uid) or Tombstone(NONE)
        made = Tombstone(os.urandom(8).hex(), folder or before.folder, before.afar | set(afar))
        value = {"format": FORMAT, **made._asdict(), "afar": sorted(made.afar)}
        write_json(self._folder / uid.hex(), {**value, "crc": json_checksum(value)})
        return made

    def account(self, collector: str, uid: bytes, session: bytes, late: Late) -> None:
        """Record what a covered session emitted; durable when this returns.

        Args:
            collector: eight hex digits: each file has one writer.
            uid, session: whose.
            late: of several lines for a session the highest number counts.

        Raises:
            OSError: it was not recorded.
        """
        line = event_lines.encode({"session": session.hex(), **vars(late)})
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._folder / f"{uid.hex()}-{collector}.jsonl", flags, 0o644)
        try:
            if os.write(fd, line) != len(line):  # a reader passes over what is torn
                raise OSError(28, "no space left", f"{self._folder}/{uid.hex()}-{collector}.jsonl")
            os.fsync(fd)
        finally:
            os.close(fd)
        fsync_dir(self._folder)

    def late(self) -> dict[bytes, dict[str, Late]]:
        """Return what covered sessions emitted, by run and session; raises OSError."""
        found: dict[bytes, dict[str, Late]] = {}
        for path in sorted(self._folder.glob("*.jsonl")):
            if named := _ACCOUNT.fullmatch(path.name):
                sessions = found.setdefault(bytes.fromhex(named[1]), {})
                for line in event_lines.scan(path.read_bytes()):
                    if isinstance(line, event_lines.EventLine):
                        _unite(sessions, line.data)
        return found


def _unite(sessions: dict[str, Late], told: Mapping[str, Any]) -> None:
    late = sessions.setdefault(told["session"], Late())
    if isinstance(told.get("n"), int) and isinstance(told.get("rank"), int):
        late.n, late.rank = max(late.n, told["n"]), told["rank"]
    late.exact = late.exact or told.get("exact") is True
