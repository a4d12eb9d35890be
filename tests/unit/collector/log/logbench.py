"""A log writer that records its callbacks, and functions that read a log's records."""

import asyncio
import time

from neural.tracking.collector.log import segment_files
from neural.tracking.collector.log.sessions import Sessions, SessionState
from neural.tracking.collector.log.writer import LogWriter
from neural.tracking.formats import events, segment
from neural.tracking.formats.segment import Record
from tests.patience import PATIENCE_S

SESSION, UID = b"s" * 16, b"u" * 16
INFO = {"name": "run"}


class Bench:
    """A log writer in a folder; ``committed``, ``failures`` and ``done`` record its callbacks."""

    def __init__(self, folder, *, segment_bytes=64 << 20):
        self.sessions = Sessions()
        self.committed = []
        self.failures = []
        self.log = LogWriter(
            folder,
            self.sessions,
            segment_bytes=segment_bytes,
            on_recovered=lambda: None,
            on_committed=self.committed.append,
            on_failed=self.failures.append,
            retry_s=0.01,
        )
        self.done = []

    async def __aenter__(self):
        await self.log.start()
        return self

    async def __aexit__(self, *_):
        await self.log.drain(time.monotonic() + PATIENCE_S)

    def open_session(self, session=SESSION):
        self.sessions.add(SessionState(session, UID, INFO))
        self.log.append(segment.SESSION, [events.pack_session(session, UID, INFO)])
        return self.sessions.get(session)

    def append_batch(self, number, session=SESSION, size=64):
        body = events.pack_batch(session, number, number, 0, bytes(size))
        known = self.sessions.get(session)

        def done(position):
            self.done.append(number)
            known.mark_durable(number, position)

        self.log.append(segment.BATCH, [body], done)

    async def settled(self):
        while self.log.held_bytes and not self.failures:
            await asyncio.sleep(0.001)


def records(folder, kind=segment.BATCH):
    found = []
    for file in segment_files.list_segments(folder):
        data = memoryview(file.path.read_bytes())
        items = segment.scan(data, file.uuid, base=-64, start=64)
        found += [item for item in items if isinstance(item, Record) and item.kind == kind]
    return found


def numbers(folder):
    return [events.unpack_batch(record.body).first for record in records(folder)]


async def write(folder, *groups, seal=True, **more):
    """Append groups of numbers, each synced before the next; without ``seal``, end as after a crash."""
    bench = Bench(folder, **more)
    await bench.log.start()
    bench.open_session()
    for group in groups:
        for number in group:
            bench.append_batch(number)
        await bench.settled()
    if seal:
        await bench.log.drain(time.monotonic() + PATIENCE_S)
    else:
        bench.log._task.cancel()
        await bench.log._close()
    return bench
