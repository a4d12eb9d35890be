"""What run folders know beyond the log: how far a session was stored. Blocks.

The ledger is the store writer's; the collector only reads it, and does without where there is none.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from neural.tracking.core.files import inside
from neural.tracking.errors import InvalidNameError
from neural.tracking.formats import ledgers

logger = logging.getLogger(__name__)


class StoredSession(NamedTuple):
    """The highest number of a session that a run folder holds, and its total once ended."""

    last: int = 0
    ended: int | None = None


def known(base_dir: Path, folder: str, session: bytes) -> StoredSession:
    """Return what the ledgers in the run folder say of the session."""
    best = StoredSession()
    if not folder or "/" in folder or folder in (".", ".."):
        return best
    damages: list[str] = []
    try:
        found = ledgers.read_all(inside(base_dir, folder), damages, session.hex())
    except (OSError, InvalidNameError):
        return best
    for damage in damages:  # as good as none: the log alone counts
        logger.warning("ledger of run folder %s was passed over: %s", folder, damage)
    for item in found.values():
        entry = item.sessions.get(session.hex())
        if entry is not None and entry.last > best.last:
            best = StoredSession(entry.last, entry.ended)
    return best
