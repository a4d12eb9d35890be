"""The next event of a run: each once, in order, from the folder if the log has a gap."""

from pathlib import Path

import pytest

from neural.tracking.collector.delivery.delivery_queue import QueuedEvent, Watermark
from neural.tracking.collector.delivery.held_runs import HeldRuns
from neural.tracking.collector.delivery.sequence import EventSequence
from neural.tracking.collector.delivery.sink_runs import SinkRuns
from neural.tracking.collector.log.reader import LogReader
from neural.tracking.errors import HoldRun
from neural.tracking.figures.saving import AUTOMATIC
from neural.tracking.reader.run import Run
from neural.tracking.sink_state.config import SinkConfig
from neural.tracking.sink_state.progress import SinkFolder
from tests.made_runs import Emitter, applied, folder_of


class Bench:
    """A sequence that reads a log, and the events that it yields."""

    def __init__(self, log):
        self.log = log
        self.folder = SinkFolder(log.state, "rough")
        self.folder.make()
        config = SinkConfig(name="rough", type="rough", runs="all")
        self.runs = SinkRuns(config, log.state, self.folder)
        self.held_runs = HeldRuns(self.folder)
        self.sequence = EventSequence(self.runs, self.held_runs)
        self._reader = LogReader(log.state.log, None)

    def read(self):
        """Read the rest of the log; return what the sequence yields for it."""
        found = []
        while items := self._reader.read(self.log.durable):
            for item in items:
                for group in self.sequence.from_log(item):
                    found += group
        return found

    def skip(self):
        """Skip the rest of the log, as if it had been deleted before the sink read it."""
        while self._reader.read(self.log.durable):
            pass

    def run(self, emitter):
        return self.runs.of_folder(Run(folder_of(self.log, emitter), "skip"))

    def from_folder(self, emitter):
        found = Run(folder_of(self.log, emitter), "skip")
        return self.sequence.from_folder(self.run(emitter), found)


@pytest.fixture
def bench(log):
    return Bench(log)


def numbers(entries):
    return [e.event.seq for e in entries if isinstance(e, QueuedEvent) and e.event.kind != "status"]


def statuses(entries):
    return [e.event.data["status"] for e in entries if isinstance(e, QueuedEvent) and e.event.kind == "status"]


def test_events_come_once_and_in_order_with_a_watermark_after_each_batch(log, bench):
    emitter = Emitter().open().metrics({"a": 1.0})
    log.add(emitter).add(emitter.metrics({"a": 2.0}).end())

    found = bench.read()

    assert numbers(found) == [1, 2, 3, 4]
    assert [entry.last for entry in found if isinstance(entry, Watermark)] == [2, 4]
    assert statuses(found) == ["completed"]


def test_batch_that_was_taken_brings_nothing_more(log, bench):
    log.add(Emitter().open().metrics({"a": 1.0}))
    bench.read()
    bench._reader = LogReader(log.state.log, None)

    assert bench.read() == []


def test_what_the_log_no_longer_has_is_read_from_the_folder_first(log, bench):
    emitter = Emitter().open().metrics({"a": 1.0}).event("text", name="n", text="t")
    log.add(emitter)
    bench.skip()
    log.add(emitter.metrics({"a": 2.0}))
    applied(log).close()

    assert numbers(bench.read()) == [1, 2, 3, 4]


def test_what_the_folder_lacks_is_passed_without_holding_up_what_follows(log, bench):
    emitter = Emitter().open().metrics({"a": 1.0})
    log.add(emitter)
    bench.skip()
    log.add(emitter.metrics({"a": 2.0}))

    assert numbers(bench.read()) == [3]


def test_run_that_is_held_back_during_the_catch_up_stops_there_and_passes_the_batch_over(log, bench):
    emitter = Emitter().open().metrics({"a": 1.0}).metrics({"a": 2.0})
    log.add(emitter)
    bench.skip()
    log.add(emitter.metrics({"a": 3.0}))
    applied(log).close()
    (batch,) = [item for item in bench._reader.read(log.durable) if hasattr(item, "payload")]

    groups = bench.sequence.from_log(batch)
    first = next(groups)
    run = first[0].run
    bench.held_runs.hold(run, HoldRun(run.info.uid, "deleted there", after_s=0.0))

    assert numbers(first) == [1]
    assert list(groups) == []
    assert run.share.passed_over == {emitter.session.hex(): 4}
    assert run.last_taken(emitter.session.hex()) == 0


def test_run_that_waited_comes_complete_from_its_folder(log, bench):
    emitter = Emitter().open().metrics({"a": 1.0})
    log.add(emitter)
    run = bench.read()[0].run
    bench.held_runs.hold(run, HoldRun(run.info.uid, "deleted there", after_s=0.0))
    log.add(emitter.metrics({"a": 2.0}).end())
    assert bench.read() == []
    applied(log).close()

    bench.held_runs.release(run.info.uid)
    found = [entry for group in bench.from_folder(emitter) for entry in group]

    assert numbers(found) == [1, 2, 3, 4]
    assert statuses(found) == ["completed"]
    assert run.clear_passed_over()


def test_artifact_comes_once_its_bytes_are_stored(log, bench):
    emitter = Emitter().open().event("artifact", name="model", how="file", size=3)
    log.add(emitter)
    assert numbers(bench.read()) == [1]

    log.note(emitter, "artifact", "2", version=1, path="artifacts/model", sha256="ee" * 32, size=3)
    log.note(emitter, "artifact", "2", version=1, path="artifacts/model", sha256="ee" * 32, size=3)

    (entry,) = [entry for entry in bench.read() if isinstance(entry, QueuedEvent)]
    assert (entry.event.seq, entry.event.kind, entry.event.data["version"]) == (2, "artifact", 1)


def test_plots_that_are_queued_are_not_queued_again_until_they_change(log, bench):
    emitter = Emitter().open().metrics({"a": 1.0}).end()
    log.add(emitter)
    applied(log).close()
    plots = Path(folder_of(log, emitter)) / "plots"
    plots.mkdir()
    picture = plots / f"{AUTOMATIC}a.png"
    picture.write_bytes(b"first")

    def pictures():
        found = [entry for group in bench.from_folder(emitter) for entry in group]
        return [e.event.data["size"] for e in found if isinstance(e, QueuedEvent) and e.event.seq < 0]

    assert pictures() == [5]
    assert pictures() == []  # the backend was down, and the errand is done again
    picture.write_bytes(b"second")
    assert pictures() == [6]
