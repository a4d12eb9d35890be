"""In which batches events leave the queue, and what happens to those that the sink refuses."""

import pytest

from neural.tracking.collector.delivery import dead_letters
from neural.tracking.collector.delivery.attempts import Attempts
from neural.tracking.collector.delivery.delivery_queue import DeliveryQueue, QueuedEvent, Watermark
from neural.tracking.collector.delivery.held_runs import HeldRuns
from neural.tracking.collector.delivery.sink_runs import SinkRuns
from neural.tracking.errors import HoldRun, RefusedForGood, RetryLater
from neural.tracking.sink_state.config import SinkConfig
from neural.tracking.sink_state.progress import Share, SinkFolder
from neural.tracking.sinks.base import RunEvent
from neural.tracking.state.paths import State

SESSION = "cd" * 16


class Guard:
    """A guard whose sink raises the given errors, once each, and keeps accepted events."""

    batch_events = 3
    flush_every_s = 60.0

    def __init__(self):
        self.batches = []
        self.errors = []
        self.refuses = set()
        self.flushes = 0

    def write(self, events):
        if self.errors:
            raise self.errors.pop(0)
        if any(event.seq in self.refuses for event in events):
            raise RefusedForGood("not taken here")
        self.batches.append([event.seq for event in events])

    def flush(self):
        self.flushes += 1


class Bench:
    def __init__(self, base_dir):
        state = State(base_dir=base_dir, root=base_dir / ".ntrack")
        self.folder = SinkFolder(state, "rough")
        self.folder.make()
        self.runs = SinkRuns(SinkConfig(name="rough", type="rough"), state, self.folder)
        self.held_runs = HeldRuns(self.folder)
        self.guard = Guard()
        attempts = Attempts(self.folder.trying)
        attempts.open()
        self.queue = DeliveryQueue(self.guard, attempts, self.runs, self.held_runs, self.folder)

    def run(self, uid="ab" * 16, name="train"):
        return self.runs.of_dead_letter({"run": uid, "name": name, "folder": "/runs/none"})

    def add(self, run, *seqs, **data):
        events = [event(run, seq, **data) for seq in seqs]
        self.queue.extend([*(QueuedEvent(run, one) for one in events), Watermark(run, SESSION, seqs[-1])])

    def letters(self):
        return [(letter["seq"], letter["error"]) for letter in dead_letters.read(self.folder.dead_letters)]


def event(run, seq, **data):
    return RunEvent(run.info, SESSION, 0, seq, 1000 + seq, seq, "metrics", data or {"a": 1.0})


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_full_batches_go_at_once_and_the_rest_with_the_next_drain(bench):
    run = bench.run()
    bench.add(run, 1, 2, 3, 4)

    bench.queue.drain_full()
    assert bench.guard.batches == [[1, 2, 3]]
    bench.queue.drain()

    assert bench.guard.batches == [[1, 2, 3], [4]]
    assert (run.share.last(SESSION), bench.queue.delivered_total, len(bench.queue)) == (4, 4, 0)


def test_what_the_sink_does_not_take_now_stays_and_comes_once(bench):
    bench.add(bench.run(), 1, 2)
    bench.guard.errors.append(RetryLater("down"))

    with pytest.raises(RetryLater):
        bench.queue.drain()
    assert bench.queue.oldest_ns() == 1001
    bench.queue.drain()

    assert bench.guard.batches == [[1, 2]]


def test_progress_is_saved_after_the_flush_only(bench):
    run = bench.run()
    bench.add(run, 1)
    bench.queue.drain()
    assert not bench.folder.share_file(run.info.uid).exists()

    bench.queue.commit()

    assert bench.guard.flushes == 1
    assert Share.read(bench.folder.share_file(run.info.uid)).last(SESSION) == 1


def test_refused_batch_is_written_event_by_event_and_only_the_guilty_one_is_a_dead_letter(bench):
    bench.add(bench.run(), 1, 2, 3)
    bench.guard.refuses.add(2)

    bench.queue.drain()

    assert bench.guard.batches == [[1], [3]]
    assert bench.letters() == [(2, "not taken here")]


def test_held_run_leaves_the_queue_and_the_others_go_on(bench):
    gone, other = bench.run(), bench.run("ef" * 16, "other")
    bench.add(gone, 1, 2)
    bench.add(other, 7)
    bench.guard.errors.append(HoldRun(gone.info.uid, "deleted there"))

    bench.queue.drain()
    bench.add(gone, 3)
    bench.queue.drain()

    assert bench.guard.batches == [[7]]
    assert bench.held_runs.summary() == f"run {gone.info.label} waits: deleted there"
    assert bench.folder.requested_deliveries()[0][1] == gone.info.uid


def test_dead_letter_that_is_tried_again_is_queued_once(bench):
    run = bench.run()
    bench.queue.append_dead_letter(run, event(run, 2))
    bench.queue.append_dead_letter(run, event(run, 2))  # the backend was down, and the run's file is read again

    bench.queue.drain()

    assert bench.guard.batches == [[2]]


def test_dead_letter_of_a_held_run_is_one_again_and_can_be_tried_again(bench):
    run = bench.run()
    bench.queue.append_dead_letter(run, event(run, 2))
    bench.guard.errors.append(HoldRun(run.info.uid, "deleted there"))
    bench.queue.drain()
    assert bench.letters() == [(2, f"run {run.info.label} waits: deleted there")]

    bench.held_runs.release(run.info.uid)
    bench.queue.append_dead_letter(run, event(run, 2))
    bench.queue.drain()

    assert bench.guard.batches == [[2]]


def test_metric_called_picture_is_a_metric(bench):
    run = bench.run()
    bench.add(run, 1, picture=0.5)

    bench.queue.drain()

    assert (run.share.last(SESSION), run.share.pictures) == (1, {})
