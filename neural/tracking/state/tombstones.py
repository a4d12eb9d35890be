"""Tombstones: the permanent records of removed runs, in ``.ntrack/tombstones``.

The file ``<uid>`` records that the run was removed. A removal covers the sessions that were opened before it.
A later session with the same uid (from ``NTRACK_RUN_ID``, or of a job that is queued again) is not covered.
Clocks do not decide this, since the clocks of two hosts differ: every removal has a random name, the
tombstone holds the newest name, and a session names the removal after which it was opened (``after`` in its
info).

A session on another host cannot read the tombstone. The tombstone lists the remote sessions that existed at
the removal. The collector accepts any other remote session and adds ``after`` to its info.

The file ``<uid>-<c>.jsonl`` accounts for the events that covered sessions emitted, all of which are the gap
``run_deleted``: one event line for each session, written before its outbox is removed.
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

AFTER = "after"  # in a session's info: the removal after which it was opened; absent if there was none
RUN_DELETED = "run_deleted"  # the reason of the gap
NONE, FORMER, UNKNOWN = "", "0", "?"  # no removal; a removal by a release without names; a damaged name
FORMAT = 1
_ACCOUNT = re.compile(r"([0-9a-f]{32})-[0-9a-f]{8}\.jsonl")


class Tombstone(NamedTuple):
    """The tombstone of one run: its newest removal, its folder then, and its sessions of other hosts."""

    removal: str
    folder: str = ""
    remote_sessions: frozenset[str] = frozenset()  # the key "afar" of the file

    def covers(self, info: Mapping[str, Any]) -> bool:
        """Return whether a session with this info was opened before the run was removed. Never blocks."""
        after = info.get(AFTER, NONE)
        # If a name is damaged, a session opened after any removal is accepted, so that nothing is lost.
        return bool(after != self.removal and not (after and UNKNOWN in (after, self.removal)))


@dataclass
class Late:
    """The account of a covered session: it emitted ``n`` events; unless ``exact``, it may be more."""

    n: int = 0
    rank: int = 0
    exact: bool = False

    @classmethod
    def of(cls, info: Mapping[str, Any], n: int, *, exact: bool = False) -> Late:
        """Return the account of a session with this info that emitted ``n`` events."""
        rank = info.get("rank")
        return cls(n, rank if isinstance(rank, int) else 0, exact)


class Tombstones:
    """The tombstones of one ``base_dir``. All methods block on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, uid: bytes) -> Tombstone | None:
        """Return the run's tombstone; None if it was not removed.

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
        """Return the run's newest removal, for a session that is opened now; empty if there is none.

        Returns ``"?"`` if the tombstone cannot be read; never raises.
        """
        try:
            found = self.of(uid)
        except OSError:
            return UNKNOWN
        return NONE if found is None else found.removal

    def covers(self, uid: bytes, info: Mapping[str, Any]) -> bool:
        """Return whether a session of the run was opened before it was removed; raises like :meth:`of`."""
        found = self.of(uid)
        return found is not None and found.covers(info)

    def add(self, uid: bytes, folder: str = "", remote_sessions: Iterable[str] = ()) -> Tombstone:
        """Record a removal of the run, also a second one; durable on return.

        Args:
            uid: the run's uid.
            folder: the name of its folder.
            remote_sessions: its sessions of other hosts; those of earlier removals are kept.

        Raises:
            OSError: the removal is not recorded.
        """
        with contextlib.suppress(FileExistsError):
            self._folder.mkdir(parents=True)
            fsync_upwards(self._folder.parent)
        before = self.of(uid) or Tombstone(NONE)
        sessions = before.remote_sessions | set(remote_sessions)
        made = Tombstone(os.urandom(8).hex(), folder or before.folder, sessions)
        value = {"format": FORMAT, "removal": made.removal, "folder": made.folder, "afar": sorted(sessions)}
        write_json(self._folder / uid.hex(), {**value, "crc": json_checksum(value)})
        return made

    def account(self, collector: str, uid: bytes, session: bytes, late: Late) -> None:
        """Record how many events a covered session emitted; durable on return.

        Args:
            collector: eight hex digits: each file has one writer.
            uid, session: the run and the session.
            late: the account; of several accounts of a session the highest number counts.

        Raises:
            OSError: the account is not recorded.
        """
        line = event_lines.encode({"session": session.hex(), **vars(late)})
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._folder / f"{uid.hex()}-{collector}.jsonl", flags, 0o644)
        try:
            if os.write(fd, line) != len(line):  # readers skip the partial line
                raise OSError(28, "no space left", f"{self._folder}/{uid.hex()}-{collector}.jsonl")
            os.fsync(fd)
        finally:
            os.close(fd)
        fsync_dir(self._folder)

    def late(self) -> dict[bytes, dict[str, Late]]:
        """Return the accounts of covered sessions, by run and session; raises OSError."""
        found: dict[bytes, dict[str, Late]] = {}
        for path in sorted(self._folder.glob("*.jsonl")):
            if named := _ACCOUNT.fullmatch(path.name):
                sessions = found.setdefault(bytes.fromhex(named[1]), {})
                for line in event_lines.scan(path.read_bytes()):
                    if isinstance(line, event_lines.EventLine):
                        _unite(sessions, line.data)
        return found


def _unite(sessions: dict[str, Late], line: Mapping[str, Any]) -> None:
    late = sessions.setdefault(line["session"], Late())
    if isinstance(line.get("n"), int) and isinstance(line.get("rank"), int):
        late.n, late.rank = max(late.n, line["n"]), line["rank"]
    late.exact = late.exact or line.get("exact") is True
