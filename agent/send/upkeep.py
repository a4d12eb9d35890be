"""What the sender does for the emitter at each look, so that log calls make no system call.

Spare segments are made and their pages prepared, pages ahead of the head are made writable again
(writeback cleans them), full segments that wait are unmapped, and an outbox that found no room on
the disk, or that somebody removed, is made anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from neural.tracking.agent.emit.emitter import Emitter
from neural.tracking.agent.emit.outbox import Outbox
from neural.tracking.agent.send.outbox_reader import OutboxReader
from neural.tracking.core import os_support
from neural.tracking.formats import segment

RETRY_OUTBOX_S = 5.0
MIN_AHEAD_BYTES, MAX_AHEAD_BYTES = 32 << 10, 1 << 20


class Upkeep:
    """The chores of one session's outbox."""

    def __init__(self, emitter: Emitter, make_outbox: Callable[[], None]) -> None:
        self._emitter = emitter
        self._make_outbox = make_outbox
        self._retry_at = time.monotonic() + RETRY_OUTBOX_S
        self._head = 0
        self._synced = False

    def run(self, stream: OutboxReader | None, now: float) -> None:
        """Do what is due."""
        self._emitter.write_deferred()
        outbox = self._emitter.outbox
        if outbox is None or stream is None or not outbox.in_place():
            if now >= self._retry_at:
                self._retry_at = now + RETRY_OUTBOX_S
                self._synced = False
                self._make_outbox()
            return
        self._retry_at = now
        self._prepare(outbox)
        stream.keep_few_mapped()
        if not self._synced:
            self._synced = True
            outbox.sync_info()

    def _prepare(self, outbox: Outbox) -> None:
        head, _ = self._emitter.head
        current = self._emitter.segment
        if current is None or current.map is None or head < current.base:
            return
        if head - current.base > current.size // 2:
            outbox.make_spare()
        ahead = min(max(2 * (head - self._head), MIN_AHEAD_BYTES), MAX_AHEAD_BYTES)
        self._head = head
        os_support.populate(current.map, head - current.base + segment.HEADER_BYTES, ahead)
