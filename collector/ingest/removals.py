"""Runs that were removed, as the collector meets them: whom it still lets in, and what came too late.

A removal covers the sessions that were opened before it (see :mod:`neural.tracking.state.tombstones`). What
these emit is stored nowhere: the gap ``run_deleted`` says so, before anything of it may be removed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from neural.tracking.collector.log.sessions import VIA, SessionState
from neural.tracking.state.tombstones import AFTER, Late, Tombstone, Tombstones

LOOK_S = 0.02  # between two looks whether a removal is over


class Removals:
    """All removals of one ``base_dir``; everything here but :meth:`account` runs on the event loop.

    Args:
        tombstones: where they are kept.
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
        """Let no session of this run in while it is being removed: it would write to the folder that goes."""
        self._begun_total += 1
        self._under_way.add(uid)
        try:
            yield
        finally:
            self._under_way.discard(uid)

    async def look_up(self, uid: bytes) -> tuple[Tombstone | None, int]:
        """Return the tombstone once no removal of the run is under way; and a number for :meth:`is_current`."""
        while uid in self._under_way:
            await asyncio.sleep(LOOK_S)
        begun = self._begun_total
        return await asyncio.to_thread(self._tombstones.of, uid), begun

    def is_current(self, number: int) -> bool:
        """Return whether no removal began since."""
        return number == self._begun_total

    def record(self, uid: bytes, folder: str, afar: list[str]) -> None:
        """Put up the tombstone; durable when this returns. Blocks; raises OSError."""
        self._tombstones.add(uid, folder, afar)

    def account(self, session: bytes, uid: bytes, late: Late) -> None:
        """Write down what a session emitted that its run's removal covers. Blocks; raises OSError."""
        known = self._accounted.get(session)
        if known is None or known.n < late.n or (late.exact and not known.exact):
            self._tombstones.account(self._collector(), uid, session, late)
            self._accounted[session] = late


def admitted(
    stone: Tombstone, session: bytes, info: dict[str, Any], known: SessionState | None
) -> dict[str, Any] | None:
    """Return the info under which a session of a removed run is let in; None where the removal covers it.

    Args:
        stone: the run's tombstone.
        session: its id.
        info: as it describes itself.
        known: as the log has it, if it does.
    """
    if not stone.covers(info if known is None else known.info):
        return info
    if known is None and VIA in info and session.hex() not in stone.afar:
        # Of another host, which sees no tombstone, and unknown here when the run was removed.
        return {**info, AFTER: stone.removal}
    return None
