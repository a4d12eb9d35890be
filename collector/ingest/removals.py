"""Which sessions of removed runs the collector still admits, and the record of what they emitted too late.

A removal covers the sessions that were opened before it (see :mod:`neural.tracking.state.tombstones`). What
these sessions emit is stored nowhere. The gap ``run_deleted`` records that, before anything of it may be
removed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from neural.tracking.collector.log.sessions import VIA, SessionState
from neural.tracking.state.tombstones import AFTER, Late, Tombstone, Tombstones

POLL_S = 0.02  # between two checks whether a removal is over


class Removals:
    """All removals of one ``base_dir``; everything here but :meth:`account` runs on the event loop.

    Args:
        tombstones: the tombstones of the removed runs.
        collector: returns this collector's id, eight hex digits.
    """

    def __init__(self, tombstones: Tombstones, collector: Callable[[], str]) -> None:
        self._tombstones = tombstones
        self._collector = collector
        self._begun_total = 0
        self._under_way: set[bytes] = set()
        self._accounted: dict[bytes, Late] = {}

    @contextlib.contextmanager
    def under_way(self, uid: bytes) -> Iterator[None]:
        """Admit no session of this run while it is being removed: it would write to the deleted folder."""
        self._begun_total += 1
        self._under_way.add(uid)
        try:
            yield
        finally:
            self._under_way.discard(uid)

    async def look_up(self, uid: bytes) -> tuple[Tombstone | None, int]:
        """Wait until no removal of the run is under way; return its tombstone, and a number for `is_current`.

        Raises:
            OSError: the tombstone cannot be read.
        """
        while uid in self._under_way:
            await asyncio.sleep(POLL_S)
        begun = self._begun_total
        return await asyncio.to_thread(self._tombstones.of, uid), begun

    def is_current(self, number: int) -> bool:
        """Return whether no removal has begun since :meth:`look_up` returned ``number``. Never blocks."""
        return number == self._begun_total

    def record(self, uid: bytes, folder: str, remote_sessions: list[str]) -> None:
        """Write the tombstone; it is durable when this returns. Blocks on the disk; raises OSError."""
        self._tombstones.add(uid, folder, remote_sessions)

    def account(self, session: bytes, uid: bytes, late: Late) -> None:
        """Record what a session emitted that its run's removal covers. Blocks on the disk; raises OSError."""
        before = self._accounted.get(session)
        if before is None or before.n < late.n or (late.exact and not before.exact):
            self._tombstones.account(self._collector(), uid, session, late)
            self._accounted[session] = late


def admitted_info(
    tombstone: Tombstone, session: bytes, info: dict[str, Any], logged: SessionState | None
) -> dict[str, Any] | None:
    """Return the info under which a session of a removed run is admitted; None if the removal covers it.

    Never blocks.

    Args:
        tombstone: the tombstone of the run.
        session: the session's id.
        info: the session's own description.
        logged: the session as the log has it, if it does.
    """
    if not tombstone.covers(info if logged is None else logged.info):
        return info
    if logged is None and VIA in info and session.hex() not in tombstone.remote_sessions:
        # The session is on another host, which sees no tombstone. It was unknown here when the run was removed.
        return {**info, AFTER: tombstone.removal}
    return None
