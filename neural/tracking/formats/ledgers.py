"""``ledger-<c>.json``: what the store of one collector has made durable in a run folder.

A ledger is a claim: verification counts points, lines and gaps and compares them with it. It holds its own
checksum; a ledger with a wrong checksum counts as missing.

The store writes it about every second. To keep it small, sessions that have ended move to
``ended-<c>.jsonl``, one event line each, which is appended and synced before the ledger omits the session.
The last line of a session counts. An entry in the ledger overrides any line.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from neural.tracking.core.files import json_checksum, matching
from neural.tracking.errors import FormatError
from neural.tracking.formats import event_lines

FORMAT = 1
NAME = re.compile(r"ledger-([0-9a-f]{8})\.json")
# What reading raises if the content is not a ledger.
_NO_LEDGER = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)


@dataclass
class SessionEntry:
    """Everything up to number ``last`` is durable; ``ended`` is the session's total, None if unknown."""

    last: int = 0
    ended: int | None = None
    rank: int = 0
    notes: list[str] = field(default_factory=list)  # "<kind> <key>" of notes already stored


@dataclass
class Ledger:
    """What is durable: the sizes of the two growing files, and how far each session is stored."""

    uid: str = ""
    tail_uuid: str = ""
    tail_bytes: int = 0
    events_bytes: int = 0
    sessions: dict[str, SessionEntry] = field(default_factory=dict)
    ended_bytes: int = 0  # how many bytes of ended-<c>.jsonl are durable
    settled: set[str] = field(default_factory=set)  # sessions whose entry is only in ended-<c>.jsonl

    @property
    def complete(self) -> bool:
        """Whether every session has ended and is stored up to its end; False if there is none. Never blocks."""
        entries = self.sessions.values()
        return bool(entries) and all(e.ended is not None and e.last >= e.ended for e in entries)

    def to_settle(self) -> list[str]:
        """Return the sessions that have ended and are still in the ledger itself."""
        return [
            session
            for session, entry in self.sessions.items()
            if session not in self.settled and entry.ended is not None and entry.last >= entry.ended
        ]

    def ended_lines(self, sessions: Iterable[str]) -> list[bytes]:
        """Return the lines of these sessions for ``ended-<c>.jsonl``."""
        return [event_lines.encode({"session": s, **vars(self.sessions[s])}) for s in sessions]

    def encode(self) -> bytes:
        """Return the file's content."""
        body = {
            "format": FORMAT,
            "uid": self.uid,
            "tail": [self.tail_uuid, self.tail_bytes],
            "events_bytes": self.events_bytes,
            "ended_bytes": self.ended_bytes,
            "sessions": {
                session: {"last": e.last, "ended": e.ended, "rank": e.rank, "notes": e.notes}
                for session, e in self.sessions.items()
                if session not in self.settled
            },
        }
        return json.dumps({**body, "crc": json_checksum(body)}, indent=1).encode() + b"\n"


def ended_file(ledger_file: Path) -> Path:
    """Return the path of the file that holds the ledger's ended sessions."""
    return ledger_file.with_name(f"ended-{ledger_file.stem.partition('-')[2]}.jsonl")


class Sizes(NamedTuple):
    """How many bytes of the two growing files are durable, according to one collector's ledger."""

    tail_uuid: str
    tail_bytes: int
    events_bytes: int


def sizes(folder: Path) -> dict[str, Sizes]:
    """Return the durable sizes from each ledger of a run folder, by collector; damaged ledgers are left out.

    Blocks on the disk. Raises OSError if a ledger cannot be read.
    """
    found: dict[str, Sizes] = {}
    for path in sorted(folder.glob("ledger-*.json")):
        if named := NAME.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError, *_NO_LEDGER):
                body = _body(path.read_bytes(), path.name)
                found[named[1]] = Sizes(str(body["tail"][0]), int(body["tail"][1]), int(body["events_bytes"]))
    return found


def read(path: Path, only: str | None = None) -> Ledger | None:
    """Return the ledger in ``path``; None if there is no file. Blocks on the disk.

    Args:
        path: the ledger's file.
        only: a session id: other sessions in ``ended-<c>.jsonl`` are left out.

    Raises:
        FormatError: it is damaged, or of another format.
        OSError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        body = _body(data, path.name)
        sessions = {session: SessionEntry(**entry) for session, entry in body["sessions"].items()}
        ended_bytes = body.get("ended_bytes", 0)
        ended = _read_ended(ended_file(path), ended_bytes, only) if ended_bytes else {}
        return Ledger(
            uid=body["uid"],
            tail_uuid=body["tail"][0],
            tail_bytes=body["tail"][1],
            events_bytes=body["events_bytes"],
            sessions={**ended, **sessions},
            ended_bytes=ended_bytes,
            settled=ended.keys() - sessions.keys(),
        )
    except FormatError:
        raise
    except _NO_LEDGER as error:
        raise FormatError(f"{path.name}: is not a ledger: {error}") from error


def _body(data: bytes, name: str) -> dict[str, Any]:
    """Return a ledger's content; raises FormatError, or an exception of ``_NO_LEDGER``."""
    body: dict[str, Any] = json.loads(data)
    crc = body.pop("crc")
    if crc != json_checksum(body):
        raise FormatError(f"{name}: is damaged: its checksum does not match")
    if body["format"] != FORMAT:
        raise FormatError(f"{name}: has format {body['format']}, this release reads {FORMAT}")
    return body


def _read_ended(path: Path, size: int, only: str | None) -> dict[str, SessionEntry]:
    try:
        data = path.read_bytes()[:size]
    except FileNotFoundError:
        data = b""
    if len(data) < size:
        raise FormatError(f"{path.name}: has {len(data)} bytes, {size} were durable")
    if only is not None:  # among many thousands of lines, most need not be decoded
        data = b"".join(line for line in data.splitlines(keepends=True) if only.encode() in line)
    found: dict[str, SessionEntry] = {}
    for line in event_lines.scan(data):
        if isinstance(line, event_lines.BadLine):
            raise FormatError(f"{path.name}: bytes {line.start} to {line.end} are not a valid line")
        session = line.data.pop("session")
        found[session] = SessionEntry(**line.data)
    return found


def read_all(folder: Path, damages: list[str], only: str | None = None) -> dict[str, Ledger]:
    """Return the ledgers of a run folder by collector; append a text to ``damages`` for each damaged one.

    ``only`` as for :func:`read`. Blocks on the disk. Raises OSError if a ledger cannot be read.
    """
    found: dict[str, Ledger] = {}
    for path in matching(folder, "ledger-*.json"):
        if named := NAME.fullmatch(path.name):
            try:
                ledger = read(path, only)
            except FormatError as error:
                damages.append(str(error))
                continue
            if ledger is not None:
                found[named[1]] = ledger
    return found


def owner(folder: Path) -> bytes | None:
    """Return the run uid that all ledgers of a folder name; None if there is no ledger, or they differ."""
    uids = {ledger.uid for ledger in read_all(folder, []).values() if ledger.uid}
    return bytes.fromhex(uids.pop()) if len(uids) == 1 else None
