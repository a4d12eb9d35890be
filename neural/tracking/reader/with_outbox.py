"""A run for a process without a reachable collector: the run folder plus the process's own outbox.

Only numbers that the folder does not have of the session are added, so each event is seen once.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neural.tracking.errors import FormatError
from neural.tracking.formats.event_stream import Decoded, decode
from neural.tracking.formats.events import unpack_schemas
from neural.tracking.formats.tails import Stretch, newer
from neural.tracking.reader.facts import RunFacts, SessionFacts, fold_event
from neural.tracking.reader.points import PointFiles
from neural.tracking.reader.run import Damaged, Run
from neural.tracking.state.outbox_files import Orphan, OutboxPiece


class RunWithOutbox(Run):
    """A run folder plus the events in one session's outbox that the folder does not have."""

    def __init__(
        self, folder: Path, session: bytes, rank: int, outbox: Sequence[Decoded], damaged: Damaged = "raise"
    ) -> None:
        super().__init__(folder, damaged)
        self._session = session
        self._rank = rank
        self._outbox = outbox

    @functools.cached_property
    def _points(self) -> PointFiles:
        files: PointFiles = super()._points
        stretches = files.stretches()
        mine = [stretch.last for stretch in stretches if stretch.session == self._session]
        last = max([files.stored.get(self._session, 0), *mine])
        files.ranks.setdefault(self._session, self._rank)
        for decoded in self._outbox:
            if blocks := [fresh for block in decoded.blocks if (fresh := newer(block, last)) is not None]:
                first = min(int(block.seq[0]) for block in blocks)
                stretches.append(Stretch(self._session, first, last, blocks))
        return files

    @functools.cached_property
    def _valid_facts(self) -> RunFacts:
        """The facts in the event lines, and then those in the outbox."""
        found: RunFacts = super()._valid_facts
        key = self._session.hex()
        # Do not add the session if the folder does not have it: only the folder decides the run's status.
        session = found.sessions.get(key) or SessionFacts(key, self._rank)
        for decoded in self._outbox:
            for event in decoded.events:
                if event.seq > session.highest and event.kind != "end":
                    fold_event(found, session, event._asdict())
        return found

    def texts(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the logged texts like :meth:`Run.texts`; those in the outbox are the last."""
        session = self._valid_facts.sessions.get(self._session.hex())
        highest = 0 if session is None else session.highest
        fresh = [
            {**event.data, "step": event.step, "time_ns": event.time_ns, "rank": self._rank}
            for decoded in self._outbox
            for event in decoded.events
            if event.kind == "text" and event.seq > highest and name in (None, event.data.get("name"))
        ]
        return super().texts(name) + fresh


def outbox_content(outboxes: Path, session: bytes) -> list[Decoded]:
    """Return the content of a closed session's outbox; empty if a collector took it over, or it is unreadable.

    Blocks: reads the whole outbox.
    """
    try:
        orphan = Orphan(outboxes / session.hex())
        schemas = unpack_schemas(session, orphan.schemas())
        pieces = [piece for piece in orphan.pieces() if isinstance(piece, OutboxPiece)]
    except (OSError, FormatError):
        return []
    return [decode(memoryview(piece.payload), schemas) for piece in pieces]
