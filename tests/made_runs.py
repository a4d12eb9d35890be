"""Logs that a test writes by hand in the form of a collector, and functions to apply them."""

from __future__ import annotations

import secrets
import struct
from pathlib import Path

from neural.tracking.collector.log.reader import CursorPosition, LogReader
from neural.tracking.collector.store.applier import StoreApplier
from neural.tracking.formats import events, segment
from neural.tracking.state.paths import State

START_NS = 1_700_000_000_000_000_000
SECOND = 10**9


class Emitter:
    """One session's stream: numbers its events and returns them in batches."""

    def __init__(self, uid=None, session=None, *, rank=0, attempt=0, role="opener", name="exp"):
        self.session = session or secrets.token_bytes(16)
        self.uid = uid or secrets.token_bytes(16)
        self.seq = 0
        self.first = 1
        self.offset = 0
        self.schemas = {}
        self.new_schemas = b""
        self.payload = b""
        self.info = {
            "name": name,
            "dir": f"{name}_{self.uid.hex()[:8]}",
            "rank": rank,
            "attempt": attempt,
            "role": role,
            "opened_ns": START_NS + rank,
            "world_size": 1,
        }

    def _record(self, kind, body, record_id=0):
        at = self.offset + len(self.payload)
        self.payload += segment.frame(
            kind, body, record_seed=segment.seed(self.session, at), record_id=record_id
        )

    def metrics(self, values, step=None, time_ns=None):
        names = tuple(values)
        if names not in self.schemas:
            self.schemas[names] = len(self.schemas) + 1
            self.new_schemas += events.pack_schema(self.session, self.schemas[names], names)
        self.seq += 1
        step = self.seq - 1 if step is None else step
        time_ns = START_NS + self.seq * SECOND if time_ns is None else time_ns
        body = struct.pack(f"<Qqq{len(names)}d", self.seq, time_ns, step, *values.values())
        self._record(segment.METRICS, body, self.schemas[names])
        return self

    def event(self, kind, step=None, time_ns=None, **data):
        self.seq += 1
        time_ns = START_NS + self.seq * SECOND if time_ns is None else time_ns
        self._record(segment.EVENT, events.pack_event(self.seq, time_ns, step, kind, data))
        return self

    def open(self, **data):
        info = {key: self.info[key] for key in ("name", "rank", "attempt", "role", "world_size")}
        return self.event("open", **info, started_ns=self.info["opened_ns"], **data)

    def end(self, status="completed", error=None):
        return self.event("end", status=status, error=error)

    def gap(self, count, reason="outbox_full"):
        first, self.seq = self.seq + 1, self.seq + count
        self._record(segment.GAP, events.pack_gap(events.Gap(first, self.seq, START_NS, reason)))
        return self

    def lose(self, count):
        """Skip ``count`` numbers, whose events will not be in the stream."""
        self.seq += count
        self.first = self.seq + 1
        return self

    def batch(self):
        """Return (schemas, first, last, base, payload) of everything since the last batch."""
        taken = (self.new_schemas, self.first, self.seq, self.offset, self.payload)
        self.offset += len(self.payload)
        self.first, self.payload, self.new_schemas = self.seq + 1, b"", b""
        return taken


class Log:
    """The log's folder with one growing segment."""

    def __init__(self, base_dir):
        self.state = State(base_dir=Path(base_dir), root=Path(base_dir) / ".ntrack")
        self.state.log.mkdir(parents=True, exist_ok=True)
        self.ordinal = 0
        self.sessions = {}
        self.next_segment()

    def next_segment(self):
        self.ordinal += 1
        self.uuid = secrets.token_bytes(16)
        self.path = self.state.log / f"{self.ordinal:08d}-{self.uuid.hex()}.seg"
        self.path.write_bytes(segment.Header(segment.ROLE_LOG, self.uuid, 0, START_NS).pack())
        for emitter, (schemas, last) in self.sessions.items():
            self._introduce(emitter, schemas)
            self.record(segment.MARK, events.pack_mark(emitter.session, last, None))
        return self

    def _introduce(self, emitter, schemas):
        self.record(segment.SESSION, events.pack_session(emitter.session, emitter.uid, emitter.info))
        if schemas:
            self.record(segment.SCHEMAS, emitter.session + schemas)

    def record(self, kind, body):
        offset = self.path.stat().st_size - segment.HEADER_BYTES
        with self.path.open("ab") as file:
            file.write(segment.frame(kind, body, record_seed=segment.seed(self.uuid, offset)))
        return self

    def add(self, emitter):
        """Append a batch of the emitter's new events, as the collector does."""
        new, first, last, base, payload = emitter.batch()
        if emitter not in self.sessions:
            self._introduce(emitter, new)
        elif new:
            self.record(segment.SCHEMAS, emitter.session + new)
        known = self.sessions.get(emitter, (b"", 0))[0]
        self.sessions[emitter] = (known + new, last)
        if payload:
            self.record(segment.BATCH, events.pack_batch(emitter.session, first, last, base, payload))
        return self

    def note(self, emitter, kind, key="", **data):
        return self.record(
            segment.NOTE, events.pack_note(emitter.session, kind, key, START_NS + 10**12, **data)
        )

    def bye(self, emitter):
        return self.note(emitter, "bye", n=emitter.seq)

    @property
    def durable(self):
        return CursorPosition(self.uuid.hex(), self.path.stat().st_size)


def applied(log, sink=None, start=None, *, flush=True):
    """Apply the log from ``start`` on; return the store's applier, which is still open."""
    if sink is None:
        sink = StoreApplier(log.state)
        sink.open()
    follower = LogReader(log.state.log, start)
    while items := follower.read(log.durable):
        sink.write(items)
    sink.position = follower.position
    follower.close()
    if flush:
        sink.flush()
    return sink


def folder_of(log, emitter):
    return log.state.base_dir / emitter.info["dir"]


def values(columns):
    return columns.value.tolist()
