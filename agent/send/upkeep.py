"""The sender's maintenance of the outbox at each poll, so that log calls make no system call.

It makes spare segments and prepares their pages. It makes pages ahead of the head writable again, after
writeback has cleaned them. It unmaps full segments that wait. It creates an outbox again if there was no room
on the disk, or if somebody removed it.
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
    """The maintenance of one session's outbox."""

    def __init__(self, emitter: Emitter, make_outbox: Callable[[], None]) -> None:
        self._emitter = emitter
        self._make_outbox = make_outbox
        self._retry_at = time.monotonic() + RETRY_OUTBOX_S
        self._head = 0
        self._synced = False

    def run(self, stream: OutboxReader | None, now: float) -> None:
        """Do the maintenance that is due. Blocks on the disk; raises OSError."""
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
