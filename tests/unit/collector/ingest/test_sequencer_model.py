"""Sequencer, log and recovery against a simple model, with any order of events and any torn end."""

import asyncio
import shutil
import tempfile
import time
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from neural.tracking.collector.ingest.removals import Removals
from neural.tracking.collector.ingest.sequencer import Sequencer, Verdict
from neural.tracking.collector.log import segment_files
from neural.tracking.collector.log.sessions import Sessions
from neural.tracking.collector.log.writer import LogWriter
from neural.tracking.formats import events, segment
from neural.tracking.formats.ledgers import Ledger, SessionEntry
from neural.tracking.formats.segment import Record
from neural.tracking.state.tombstones import Tombstones
from tests.patience import PATIENCE_S

SESSIONS = [bytes([n]) * 16 for n in (1, 2, 3)]
UID = b"u" * 16
INFO = {"name": "run", "dir": f"run_{UID.hex()[:8]}"}
which = st.sampled_from(SESSIONS)


class CollectorMachine(RuleBasedStateMachine):
    """The model: for each session the accepted numbers, and the highest one acknowledged to its sender."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.taken = {session: 0 for session in SESSIONS}  # model of ``received``
        self.told = {session: 0 for session in SESSIONS}  # the number up to which a sender may free events
        self.gaps = {session: set() for session in SESSIONS}

    def teardown(self):
        self.loop.run_until_complete(self.log.drain(time.monotonic() + PATIENCE_S))
        self.loop.close()
        shutil.rmtree(self.folder)

    @initialize()
    def begin(self):
        self.start()

    def start(self):
        self.sessions = Sessions()
        self.log = LogWriter(
            self.folder / "log",
            self.sessions,
            segment_bytes=1500,
            on_recovered=lambda: None,
            on_committed=lambda position: None,
            on_failed=self.fail,
        )
        removals = Removals(Tombstones(self.folder / "stones"), lambda: "00000001")
        self.intake = Sequencer(self.folder, self.log, self.sessions, removals)
        self.loop.run_until_complete(self.log.start())
        self.intake.record_lost(self.log.lost)
        for session in SESSIONS:
            opened = self.loop.run_until_complete(self.intake.open(session, UID, INFO))
            assert opened.durable <= self.taken[session], "knows what was never sent"
            assert opened.received >= self.told[session], "forgot what it had told"
            self.taken[session] = opened.received
        # A thread that writes when the model "kills" the log would continue; a real kill ends it.
        self.wait_until_idle()

    def fail(self, error):
        raise AssertionError(error)

    def wait_until_idle(self):
        async def idle():
            while self.log.held_bytes:
                await asyncio.sleep(0)

        self.loop.run_until_complete(idle())

    def settle(self):
        self.wait_until_idle()
        for session in SESSIONS:
            self.told[session] = self.sessions.get(session).durable
            assert self.told[session] == self.taken[session]
        self.check_log()

    def data(self, session, first, last):
        schemas = events.pack_schema(session, 1, ("x",))
        payload = bytes(8 * (last - first + 1))
        return self.intake.data(self.sessions.get(session), first, last, first * 8, schemas, payload)

    @rule(session=which, count=st.integers(1, 20))
    def send_what_comes_next(self, session, count):
        first = self.taken[session] + 1

        assert self.data(session, first, first + count - 1) is Verdict.STORED
        self.taken[session] += count

    @rule(session=which, back=st.integers(0, 30), count=st.integers(1, 20))
    def send_again(self, session, back, count):
        last = max(min(1, self.taken[session]), self.taken[session] - back)
        if last:
            assert self.data(session, max(1, last - count + 1), last) is Verdict.REPEATED

    @rule(session=which, before=st.integers(1, 10), after=st.integers(1, 10))
    def send_across_the_mark(self, session, before, after):
        mark = self.taken[session]
        if mark:
            assert self.data(session, max(1, mark - before + 1), mark + after) is Verdict.OUT_OF_ORDER

    @rule(session=which, ahead=st.integers(2, 30))
    def send_ahead(self, session, ahead):
        first = self.taken[session] + ahead

        assert self.data(session, first, first + 3) is Verdict.OUT_OF_ORDER

    @rule(session=which, back=st.integers(0, 5), count=st.integers(1, 20))
    def tell_a_gap(self, session, back, count):
        mark = self.taken[session]
        first = max(1, mark + 1 - back)

        assert self.intake.gap(self.sessions.get(session), first, mark + count, "log_lost") is Verdict.STORED
        self.gaps[session] |= set(range(mark + 1, mark + count + 1))
        self.taken[session] = mark + count

    @rule()
    def sync(self):
        self.settle()

    @rule()
    def stop_and_start(self):
        assert self.loop.run_until_complete(self.log.drain(time.monotonic() + PATIENCE_S)) == 0
        self.start()

    @rule(written=st.floats(0, 1), flushed=st.booleans())
    def crash(self, written, flushed):
        """Kill the collector; any prefix of the current group may be in the file."""
        if flushed:
            self.settle()
        self.log._task.cancel()
        self.loop.run_until_complete(asyncio.gather(self.log._task, return_exceptions=True))
        if (group := self.log._take_group()) and self.log._current is not None:
            self.log._group += 1
            data, _ = self.log._frame(group)
            with self.log._current.path.open("r+b") as file:
                file.seek(self.log._offset)
                file.write(data[: int(len(data) * written)])
        self.loop.run_until_complete(self.log._close())
        for session in SESSIONS:
            known = self.sessions.get(session)
            self.told[session] = max(self.told[session], known.durable)
        before = dict(self.taken)
        self.start()
        for session in SESSIONS:
            assert self.told[session] <= self.taken[session] <= before[session]
            self.gaps[session] = {n for n in self.gaps[session] if n <= self.taken[session]}
        self.check_log()

    def check_log(self):
        """Assert that the log has every acknowledged number exactly once, in order."""
        stored = {session: [] for session in SESSIONS}
        for file in segment_files.list_segments(self.folder / "log"):
            data = memoryview(file.path.read_bytes())
            for item in segment.scan(data, file.uuid, base=-segment.HEADER_BYTES, start=segment.HEADER_BYTES):
                if isinstance(item, Record) and item.kind == segment.BATCH:
                    batch = events.unpack_batch(item.body)
                    stored[batch.session] += range(batch.first, batch.last + 1)
        for session in SESSIONS:
            told = self.told[session]
            assert stored[session] == sorted(set(stored[session]))
            assert {n for n in stored[session] if n <= told} == set(range(1, told + 1)) - self.gaps[session]


CollectorMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestCollectorAgainstModel = CollectorMachine.TestCase


def test_ledger_beyond_the_log_is_taken_over(tmp_path):
    async def scenario():
        sessions = Sessions()
        log = LogWriter(
            tmp_path / "log", sessions, segment_bytes=1 << 20,
            on_recovered=lambda: None, on_committed=lambda p: None, on_failed=lambda e: None,
        )  # fmt: skip
        await log.start()
        folder = tmp_path / INFO["dir"]
        folder.mkdir()
        content = Ledger(sessions={SESSIONS[0].hex(): SessionEntry(last=7)})
        (folder / "ledger-00000001.json").write_bytes(content.encode())
        removals = Removals(Tombstones(tmp_path / "stones"), lambda: "00000001")
        intake = Sequencer(tmp_path, log, sessions, removals)
        opened = await intake.open(SESSIONS[0], UID, INFO)
        await log.drain(time.monotonic() + PATIENCE_S)
        return opened.received, opened.durable

    assert asyncio.run(scenario()) == (7, 7)
