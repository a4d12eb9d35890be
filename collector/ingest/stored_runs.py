"""Reads from run folders how far a session was stored, which may be beyond the log. Blocks on the disk.

The store writes the ledgers. The collector only reads them, and works without those that are missing.
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


def stored_session(base_dir: Path, folder: str, session: bytes) -> StoredSession:
    """Return how far the ledgers in the run folder say that the session is stored. Blocks briefly."""
    best = StoredSession()
    if not folder or "/" in folder or folder in (".", ".."):
        return best
    damages: list[str] = []
    try:
        by_collector = ledgers.read_all(inside(base_dir, folder), damages, session.hex())
    except (OSError, InvalidNameError):
        return best
    for damage in damages:  # a damaged ledger counts as missing: only the log counts then
        logger.warning("ledger of run folder %s was ignored: %s", folder, damage)
    for item in by_collector.values():
        entry = item.sessions.get(session.hex())
        if entry is not None and entry.last > best.last:
            best = StoredSession(entry.last, entry.ended)
    return best
