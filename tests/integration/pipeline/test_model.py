"""Outbox, wire, log, marks, adoption and store together, against a model: a list for each session.

All parts are real and on a real disk, with two exceptions. The network is two lists whose messages are
delivered, lost, repeated and delayed at random. The processes are objects, and a kill closes what a real kill
closes. At the end all messages are delivered, and the run folder must have each session's list.
"""

import asyncio
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from neural.tracking.agent.emit import outbox as outbox_module
from neural.tracking.collector.ingest.adopter import Adopter
from neural.tracking.collector.ingest.barriers import Barriers
from neural.tracking.collector.ingest.inbox import Inbox
from neural.tracking.collector.ingest.removals import Removals
from neural.tracking.collector.ingest.sequencer import Sequencer
from neural.tracking.collector.log.reader import CursorPosition, LogReader, read_cursor
from neural.tracking.collector.log.sessions import Sessions
from neural.tracking.collector.log.writer import LogWriter
from neural.tracking.collector.store.applier import StoreApplier
from neural.tracking.core.files import write_json
from neural.tracking.formats import wire
from neural.tracking.reader.run import Run
from neural.tracking.state.outbox_files import ADOPTED_SUFFIX, LOCK_NAME
from neural.tracking.state.paths import State
from neural.tracking.state.tombstones import Tombstones
from neural.tracking.verify.verify import verify_run
from tests.faults.harness import rounds
from tests.integration.pipeline.actors import FOLDER, Contacts, Listeners, Peer, Trainer
from tests.patience import PATIENCE_S

MOST_TRAINERS = 6
which = st.integers(0, 1)
FATE = st.lists(st.sampled_from(("", "", "", "lost", "twice")), min_size=4, max_size=4)


class Pipeline(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.base = Path(tempfile.mkdtemp())
        self.state = State(base_dir=self.base, root=self.base / ".ntrack")
        self.state.make()
        self.loop = asyncio.new_event_loop()
        self.start_threads()
        self.now = 0.0
        self.trainers = {}
        self.sink = None

    @initialize()
    def begin(self):
        self.start_collector()
        self.start_store()
        for _ in range(2):
            self.open_trainer()

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    # Trainers

    def open_trainer(self):
        self.trainers[len(self.trainers)] = Trainer(self.state, len(self.trainers))

    def living(self, number):
        """Return one of the two living trainings; None if too many have died."""
        living = [trainer for trainer in self.trainers.values() if trainer.alive]
        return living[number] if number < len(living) else None

    @rule(number=which, count=st.integers(1, 60), fate=FATE)
    def log_and_exchange(self, number, count, fate):
        self.log(number, count, ())
        self.exchange(number, fate)

    @rule(number=which, count=st.integers(1, 120), names=st.sets(st.sampled_from("abc")))
    def log(self, number, count, names):
        trainer = self.living(number)
        if trainer and not trainer.ended:
            trainer.log(count, sorted(names))

    @rule(number=which)
    def say(self, number):
        self.now += 0.1
        if trainer := self.living(number):
            trainer.protocol.send_due(self.now)

    @rule(number=which)
    def fall_silent(self, number):
        """Connect again, as after a long time without an answer."""
        if trainer := self.living(number):
            self.now += 20.0
            trainer.protocol.stop()
            trainer.protocol.start(trainer, self.now)

    @rule(number=which)
    def end(self, number):
        trainer = self.living(number)
        if trainer and not trainer.ended:
            assert trainer.emitter.end("end", {"status": "completed", "error": None})
            trainer.delivery.bye = trainer.emitter.emitted
            trainer.ended = True

    @rule(number=which)
    def kill_trainer(self, number):
        if trainer := self.living(number):
            trainer.let_go()
            if len(self.trainers) < MOST_TRAINERS:
                self.open_trainer()

    # The network

    @rule(number=which, at=st.integers(0, 3), lose=st.booleans(), repeat=st.booleans())
    def deliver(self, number, at, lose, repeat):
        """Deliver one message: perhaps not the first, perhaps twice, perhaps never."""
        trainer = self.living(number)
        if trainer and trainer.said:
            parts = trainer.said[min(at, len(trainer.said) - 1)]
            if not repeat:
                trainer.said.remove(parts)
            if not lose or repeat:
                self.run(self.arrive(trainer, parts))

    @rule(number=which, at=st.integers(0, 3), lose=st.booleans(), repeat=st.booleans())
    def answer(self, number, at, lose, repeat):
        trainer = self.living(number)
        if trainer and trainer.to_hear:
            parts = trainer.to_hear[min(at, len(trainer.to_hear) - 1)]
            if not repeat:
                trainer.to_hear.remove(parts)
            if not lose or repeat:
                self.hear(trainer, parts)

    @rule(number=which, fate=FATE)
    def exchange(self, number, fate):
        """Send and answer all messages that are due, with the network's faults."""
        if trainer := self.living(number):
            for _ in range(3):
                self.talk_over(trainer, fate)

    def talk_over(self, trainer, fate):
        self.now += 0.1
        trainer.protocol.send_due(self.now)
        said, trainer.said = trainer.said, []
        for parts, what in zip(said, fate * len(said), strict=False):
            for _ in range({"lost": 0, "twice": 2}.get(what, 1)):
                self.run(self.arrive(trainer, parts))
        self.commit()
        heard, trainer.to_hear = trainer.to_hear, []
        for parts, what in zip(heard if trainer.alive else (), fate[::-1] * len(heard), strict=False):
            for _ in range({"lost": 0, "twice": 2}.get(what, 1)):
                self.hear(trainer, parts)

    async def arrive(self, trainer, parts):
        self.inbox.receive(Peer(trainer), parts)
        await self.inbox.wait_for_hellos()

    def hear(self, trainer, parts):
        trainer.protocol.handle(wire.decode(parts), self.now)
        assert trainer.delivery.stream.acknowledged <= self.durable(trainer)

    def durable(self, trainer):
        """Return what the log told, by the highest mark any life of it had."""
        known = self.sessions.get(trainer.session)
        self.told[trainer.session] = max(self.told.get(trainer.session, 0), known.durable if known else 0)
        return self.told[trainer.session]

    # The collector

    def start_collector(self):
        self.told = getattr(self, "told", {})
        self.sessions = Sessions()
        self.log_part = LogWriter(
            self.state.log,
            self.sessions,
            segment_bytes=20_000,
            on_recovered=lambda: None,
            on_committed=self.committed,
            on_failed=self.failed,
        )
        removals = Removals(Tombstones(self.base / "stones"), lambda: "00000001")
        self.intake = Sequencer(self.base, self.log_part, self.sessions, removals)
        barriers = Barriers()
        self.inbox = Inbox(
            Listeners(), self.intake, self.log_part, self.sessions, barriers, Contacts(), lambda session: None
        )
        self.intake.on_durable = self.inbox.on_durable
        self.adopter = Adopter(self.state, self.intake, self.log_part, self.sessions, claim=self.claim)
        self.run(self.log_part.start())
        if self.sink is not None:
            self.kill_store()  # workers leave with the collector that feeds them
        self.intake.record_lost(self.log_part.lost)

    def committed(self, position):
        self.inbox.on_committed(position)

    def failed(self, error):
        raise AssertionError(error)

    def claim(self, folder):
        """Claim only a dead process's outbox: a second open of a lock of this process would drop the lock."""
        session = bytes.fromhex(folder.name.removesuffix(ADOPTED_SUFFIX))
        owner = next((t for t in self.trainers.values() if t.session == session), None)
        if owner is None or owner.alive:
            return None
        return os.open(folder / LOCK_NAME, os.O_RDWR)

    @rule()
    def commit(self):
        async def idle():
            while self.log_part.held_bytes:
                await asyncio.sleep(0)

        self.run(idle())

    @rule(written=st.floats(0, 1))
    def kill_collector(self, written):
        """Kill the collector; any prefix of the current group may be in the file."""
        if self.log_part._pending != len(self.log_part._queue):
            self.commit()
        for trainer in self.trainers.values():
            self.durable(trainer)
        self.stop_tasks()
        if (group := self.log_part._take_group()) and self.log_part._current is not None:
            self.log_part._group += 1
            data, _ = self.log_part._frame(group)
            with self.log_part._current.path.open("r+b") as file:
                file.seek(self.log_part._offset)
                file.write(data[: int(len(data) * written)])
        self.run(self.log_part._close())
        self.start_collector()

    @rule()
    def stop_and_start_collector(self):
        self.stop_adopting()
        assert self.run(self.log_part.drain(time.monotonic() + PATIENCE_S)) == 0
        for trainer in self.trainers.values():
            self.durable(trainer)
        self.start_collector()

    def stop_tasks(self):
        self.stop_adopting()
        self.log_part._task.cancel()
        self.run(asyncio.gather(self.log_part._task, return_exceptions=True))

    def stop_adopting(self):
        self.run(self.adopter.drain(0.0))
        self.threads.shutdown()  # a killed process would not finish what a thread has started
        self.start_threads()

    def start_threads(self):
        self.threads = ThreadPoolExecutor()
        self.loop.set_default_executor(self.threads)

    @rule()
    def adopt(self):
        self.run(self.look())

    async def look(self):
        self.adopter._scan()
        await asyncio.sleep(0.001)

    # The store

    def start_store(self):
        self.sink = StoreApplier(self.state)
        self.sink.open()
        self.cursor = self.state.cursors / "store.json"
        self.follower = LogReader(self.state.log, read_cursor(self.cursor))

    @rule(then=st.sampled_from(("", "flush", "kill")))
    def apply_some(self, then):
        self.apply()
        if then == "flush":
            self.flush()
        elif then == "kill":
            self.kill_store()

    def apply(self):
        durable, before = self.log_part.durable, self.follower.position
        self.sink.write(self.follower.read(CursorPosition(durable.uuid.hex(), durable.offset)))
        return self.follower.position != before

    def flush(self):
        self.sink.flush()
        position = self.follower.position
        if position is None:
            return
        self.cursor.parent.mkdir(exist_ok=True)
        write_json(self.cursor, {"position": list(position)})
        ordinal = self.log_part.ordinal_of(bytes.fromhex(position.uuid))
        if ordinal is not None:
            synced = self.log_part.durable._replace(
                ordinal=ordinal, offset=position.offset, uuid=bytes.fromhex(position.uuid)
            )
            self.sessions.forget_passed(synced)
            self.log_part.delete_passed(synced)

    def kill_store(self):
        self.sink.close()
        self.follower.close()
        self.start_store()

    # The end

    def teardown(self):
        try:
            if self.sink is not None:
                self.come_to_rest()
                self.check()
                self.sink.close()
                self.follower.close()
        finally:
            self.stop_tasks()
            self.run(self.log_part._close())
            self.loop.close()
            for trainer in self.trainers.values():
                if trainer.alive:
                    trainer.let_go()
            shutil.rmtree(self.base)

    def come_to_rest(self):
        """Let all be said, heard and applied, and adopt what was left behind."""
        deadline = time.monotonic() + PATIENCE_S
        while self.waiting():
            assert time.monotonic() < deadline, self.waiting()
            self.now += 5.0
            for trainer in self.trainers.values():
                if trainer.alive and not self.is_quiet(trainer):
                    trainer.protocol.check_silence(self.now)
                    trainer.protocol.send_due(self.now)
                said, trainer.said = trainer.said, []
                for parts in said:
                    self.run(self.arrive(trainer, parts))
                self.commit()
                heard, trainer.to_hear = trainer.to_hear, []
                for parts in heard if trainer.alive else ():
                    self.hear(trainer, parts)
                if trainer.alive and trainer.delivery.closed.is_set():
                    trainer.leave()
            self.adopt()
        self.commit()
        while self.apply():
            pass
        self.flush()

    def is_quiet(self, trainer):
        return not trainer.ended and trainer.delivery.stream.acknowledged == trainer.emitter.emitted

    def waiting(self):
        left = [n for n, t in self.trainers.items() if t.alive and not self.is_quiet(t)]
        orphans = [
            path.name
            for path in self.state.outbox.iterdir()
            if not any(t.alive and t.session.hex() == path.name for t in self.trainers.values())
        ]
        return [*left, *orphans]

    def check(self):
        logged = {t.session.hex(): t for t in self.trainers.values() if t.emitter.emitted or not t.alive}
        if not any(t.values for t in logged.values()):
            return
        report = verify_run(self.base / FOLDER)
        assert report.exit_code == 0, report
        columns = Run(self.base / FOLDER).metric("m", ranks="all")
        for session, trainer in logged.items():
            if not trainer.values:
                continue
            told = next(found for found in report.sessions if found.session == session)
            assert (told.n, told.gaps) == (trainer.emitter.emitted, [])
            own = columns.take((columns.session == columns.sessions.index(session)).nonzero()[0])
            assert own.value[own.seq.argsort()].tolist() == trainer.values


Pipeline.TestCase.settings = settings(
    max_examples=rounds(25, 600), stateful_step_count=rounds(40, 80), deadline=None
)
TestPipelineAgainstModel = pytest.mark.timeout(3600)(
    # If the model kills a collector while it opens a segment, the garbage collector closes the file.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")(Pipeline.TestCase)
)


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    """Let a few hundred events roll an outbox's segments."""
    monkeypatch.setattr(outbox_module, "FIRST_SEGMENT_BYTES", 8 << 10)
    monkeypatch.setattr(outbox_module, "SEGMENT_BYTES", 8 << 10)
