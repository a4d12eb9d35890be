"""The hot path: packs one metrics event into the outbox and returns, in about a microsecond.

- Only plain numbers are packed under the lock. Any value whose ``__float__`` may be the caller's code takes the
  careful path, which first converts all values to floats.
- An event counts once ``_head`` is assigned, in one assignment. If a call is interrupted before that
  (KeyboardInterrupt, a signal handler that raises), the next call overwrites it.
- The lock is re-entrant and has a busy flag. A call inside a call (a signal handler or ``__del__`` that logs)
  is deferred: the outer call or the next one writes its event. A plain lock would deadlock there.
- The hot path acquires inside ``try`` and releases in ``finally``. This costs half of ``with`` and is as safe,
  since between the two Python handles signals only when ``acquire`` has returned.
- While the segment has room, it makes no system call, opens no file and wakes no thread.
"""

from __future__ import annotations

import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from neural.tracking.agent.emit.metric_values import check_event, check_step, flatten, plain_sums
from neural.tracking.agent.emit.outbox import Outbox
from neural.tracking.agent.emit.stream_writer import CLOSED, LAST_BYTES, PendingEvent, StreamWriter
from neural.tracking.formats import events

BLOCK_POLL_S = 0.005

# The sum checks in one C call whether all values are plain numbers: the sum of floats, ints and NumPy's reals
# is a float; the sum of anything else (complex, arrays, tensors) is not, or fails. It starts with NaN and so
# remains NaN: it neither overflows nor warns.
_NAN = float("nan")

# Not all of Exception: the exception of a signal handler must reach the caller.
_CAREFUL = (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, struct.error)

_time_ns = time.time_ns
_crc32 = zlib.crc32


class Emitter(StreamWriter):
    """Numbers the events of one session and writes them into its outbox, from any number of threads.

    While there is no outbox (no room on the disk), events are numbered and counted as a gap.

    Args:
        session: 16 bytes.
        first_step: the step of the first metrics call without a step.
        when_full: ``"drop"``, or ``"block"``: wait outside the lock, ``block_timeout_s`` seconds at most.
    """

    def __init__(
        self, session: bytes, first_step: int = 0, *, when_full: str = "drop", block_timeout_s: float = 60.0
    ) -> None:
        super().__init__(session, first_step)
        self.closed = False
        self.on_no_outbox: Callable[[], None] | None = None  # called before an event finds no outbox
        self._waits_s = block_timeout_s if when_full == "block" else 0.0
        self._lock = threading.RLock()
        self._busy = False
        self._deferred: deque[PendingEvent] = deque()
        self._plain = plain_sums()

    def emit_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> bool:
        """Emit one metrics event; return whether it is in the outbox.

        Args:
            metrics: names to real numbers, not kept; nested mappings are flattened with ``/``.
            step: an integer of 64 bits, in any order; None counts this session's calls.

        Returns:
            True also if ``metrics`` is empty. False if the outbox was full, so that the event was dropped
            and counted, or the session is closed.

        Raises:
            TypeError, ValueError: the caller's mistake; the text names the metric and the limit.

        Blocks: only if ``when_full="block"`` and the outbox is full. At the end of a segment for which the
        sender has made no spare yet, it creates the next file.
        """
        written = False
        lock = self._lock
        try:
            packer = self._ready[tuple(metrics)]
            values = metrics.values()
            if type(sum(values, _NAN)) in self._plain:
                try:
                    lock.acquire()
                    if not self._busy:
                        self._busy = True
                        try:
                            offset, seq = self._head
                            end = offset + packer.size
                            if end <= self._limit:
                                seq += 1
                                at = seq + self._step_shift if step is None else step
                                body = packer.event(packer.prefix, seq, _time_ns(), at, *values)
                                crc = _crc32(body, self._seed ^ offset)
                                packer.write(self._buffer, offset - self._shift, crc, body)
                                self._head = (end, seq)
                                numbers = self._numbers
                                numbers[0] = seq
                                numbers[1] = ~seq
                                written = True
                        finally:
                            self._busy = False
                finally:
                    try:
                        lock.release()
                    except RuntimeError:  # a signal's exception ended the wait for the lock
                        pass
        except _CAREFUL:  # new names, or a mistake that the careful path will report
            pass
        if not written:  # also at the end of a segment, and inside another call
            return self._emit_carefully(metrics, step)
        if self._deferred:
            self.write_deferred()
        return True

    def emit(self, kind: str, data: Mapping[str, Any], step: int | None = None) -> bool:
        """Emit an event of another kind than metrics; return whether it is in the outbox.

        It may use the room that is reserved for such events. Blocks as :meth:`emit_metrics`.

        Raises:
            PayloadTooLargeError: over 256 KiB once packed.
            TypeError, ValueError: the kind or a key is reserved, ``data`` cannot be packed, or a bad step.
        """
        number = None if step is None else check_step(step)
        return self._submit(PendingEvent(_time_ns(), number, None, (), check_event(kind, data)))

    def end(self, kind: str, data: Mapping[str, Any]) -> bool:
        """Emit the session's last event and close; later events are refused. Never waits for room.

        Returns:
            False if it was called inside another call (by a signal handler), which must finish first; then
            it did nothing.
        """
        item = PendingEvent(_time_ns(), None, None, (), events.pack_event_data(kind, data))
        self.write_deferred()
        with self._lock:
            if self._busy:
                return False
            self._busy = True
            try:
                if not self.closed:
                    self._write(item, last=True)
                self.closed = True
                self._limit = CLOSED
            finally:
                self._busy = False
        return True

    def write_deferred(self) -> None:
        """Write the deferred events, which were emitted inside another call. Never waits for room."""
        while self._deferred:
            with self._lock:
                if self._busy:
                    return
                self._busy = True
                try:
                    # No signal is handled between the last step of _write, the assignment of the head, and
                    # the return of popleft. So no event is lost or written twice.
                    if self._deferred and self._write(self._deferred[0]) is not None:
                        self._deferred.popleft()
                finally:
                    self._busy = False

    def attach(self, outbox: Outbox) -> None:
        """Write into ``outbox`` from now on; events that were counted without one become a gap in it."""
        with self._lock:
            outbox.control[:256] = self._control[:256]  # numbers consumed so far
            self.outbox = outbox
            self._control = outbox.control
            self._numbers.release()
            self._numbers = memoryview(outbox.control)[:16].cast("q")
            if self._next is not None:
                self._next.unmap()  # it belongs to the previous outbox
            if self._segment is None:
                outbox.first.open(self._session, self._head[0], self._head[1])
                self._segment = outbox.first
            else:
                self._roll(self._segment, outbox.first)

    def detach(self) -> None:
        """Drop all references to the outbox, so that it can be closed; the emitter is closed, too."""
        with self._lock:
            self.closed = True
            self._limit = CLOSED
            self._segment = self.outbox = None
            self._buffer = b""
            self._control = bytearray(256)
            self._numbers.release()
            self._numbers = memoryview(bytearray(16)).cast("q")

    def write_gap(self) -> None:
        """Write the gap of dropped events into the stream, if there is room for it. Never waits for room."""
        with self._lock:
            if self._gap is None or self._busy:
                return
            self._busy = True
            try:
                if self._secure(64, LAST_BYTES):
                    self._put_gap()
            finally:
                self._busy = False

    def _emit_carefully(self, metrics: Any, step: Any) -> bool:
        """Emit with all checks: for new names, unusual values and at the end of a segment."""
        names, values = flatten(metrics)
        number = None if step is None else check_step(step)
        if not names:
            return True
        self._plain = plain_sums()
        return self._submit(PendingEvent(_time_ns(), number, names, values, b""))

    def _submit(self, item: PendingEvent) -> bool:
        if self._segment is None and self.on_no_outbox is not None:
            self.on_no_outbox()
        kept = self._try(item, may_drop=not self._waits_s)
        if kept is None:
            deadline = time.monotonic() + self._waits_s
            while kept is None:
                self.on_roll()
                time.sleep(BLOCK_POLL_S)
                kept = self._try(item, may_drop=time.monotonic() > deadline)
        if self._deferred:
            self.write_deferred()
        return kept

    def _try(self, item: PendingEvent, *, may_drop: bool) -> bool | None:
        """Write the item, or defer it inside another call; return None if there is no room now."""
        with self._lock:
            if self._busy:
                self._deferred.append(item)
                return True
            self._busy = True
            try:
                return False if self.closed else self._write(item, may_drop=may_drop)
            finally:
                self._busy = False
