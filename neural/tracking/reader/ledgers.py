"""``ledger-<c>.json``: what one collector's store writer has made durable in a run folder.

A claim, not the truth: whoever checks a run counts points, lines and gaps against it. It carries a
checksum of itself; a ledger that does not match it is as good as none.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from neural.tracking.errors import FormatError
from neural.tracking.files import json_checksum

FORMAT = 1
NAME = re.compile(r"ledger-([0-9a-f]{8})\.json")


@dataclass
class SessionEntry:
    """Everything up to ``last`` is durable; ``ended`` is the session's total once known."""

    last: int = 0
    ended: int | None = None
    rank: int = 0
    notes: list[str] = field(default_factory=list)  # "<kind> <key>" of notes already stored


@dataclass
class Ledger:
    """What is durable: the sizes of the two files that grow, and how far each session is stored."""

    uid: str = ""
    tail_uuid: str = ""
    tail_bytes: int = 0
    events_bytes: int = 0
    sessions: dict[str, SessionEntry] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the file's content."""
        body = {
            "format": FORMAT,
            "uid": self.uid,
            "tail": [self.tail_uuid, self.tail_bytes],
            "events_bytes": self.events_bytes,
            "sessions": {
                session: {"last": e.last, "ended": e.ended, "rank": e.rank, "notes": e.notes}
                for session, e in self.sessions.items()
            },
        }
        return json.dumps({**body, "crc": json_checksum(body)}, indent=1).encode() + b"\n"


def read(path: Path) -> Ledger | None:
    """Return the ledger in ``path``, None where there is no file.

    Raises:
        FormatError: damaged, or of another format.
        OSError: cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        body = json.loads(data)
        crc = body.pop("crc")
        if crc != json_checksum(body):
            raise FormatError(f"{path.name}: is damaged: its checksum does not match")
        if body["format"] != FORMAT:
            raise FormatError(f"{path.name}: has format {body['format']}, this release reads {FORMAT}")
        return Ledger(
            uid=body["uid"],
            tail_uuid=body["tail"][0],
            tail_bytes=body["tail"][1],
            events_bytes=body["events_bytes"],
            sessions={session: SessionEntry(**entry) for session, entry in body["sessions"].items()},
        )
    except FormatError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path.name}: is no ledger: {error}") from error


def read_all(folder: Path, damages: list[str]) -> dict[str, Ledger]:
    """Return the ledgers of a run folder by collector; unreadable ones go to ``damages``."""
    found: dict[str, Ledger] = {}
    for path in sorted(folder.glob("ledger-*.json")):
        if named := NAME.fullmatch(path.name):
            try:
                ledger = read(path)
            except FormatError as error:
                damages.append(str(error))
                continue
            if ledger is not None:
                found[named[1]] = ledger
    return found
