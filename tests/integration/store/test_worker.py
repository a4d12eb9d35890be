"""The worker process: it reads positions from stdin, applies, answers, keeps its cursor and its lock."""

import json
import subprocess
import sys

import pytest

from neural.tracking.collector.log.reader import read_cursor
from neural.tracking.collector.workers import worker as module
from neural.tracking.reader.run import Run
from neural.tracking.state.tombstones import Tombstones
from neural.tracking.verify.verify import verify_run
from tests.made_runs import Emitter, applied, folder_of, values
from tests.patience import wait_until

COMMAND = [sys.executable, "-P", "-m", "neural.tracking.collector.workers.worker", "store"]


class Worker:
    def __init__(self, log):
        places = ["--base-dir", str(log.state.base_dir), "--state", str(log.state.root)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([*COMMAND, *places], stdin=pipe, stdout=pipe, text=True)

    def say(self, **line):
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()

    def hear(self, key):
        """Return the next line with this key; ignore other lines before it."""
        for line in self.process.stdout:
            if key in (said := json.loads(line)):
                return said[key]
        raise AssertionError(f"the worker left without saying {key}")

    def leave(self):
        self.process.stdin.close()
        code = self.process.wait(120)
        self.process.stdout.close()
        return code


@pytest.fixture
def start(log):
    started = []

    def worker():
        started.append(Worker(log))
        return started[-1]

    yield worker
    for left in started:
        if left.process.poll() is None:
            left.process.kill()
            left.process.wait()
        for pipe in (left.process.stdin, left.process.stdout):
            pipe.close()


def test_durable_position_is_applied_then_synced(log, start):
    emitter = Emitter().open().metrics({"a": 1.0})
    log.add(emitter)
    worker = start()

    worker.say(durable=list(log.durable))

    assert worker.hear("applied") == list(log.durable)
    assert values(Run(folder_of(log, emitter)).metric("a")) == [1.0]
    assert worker.hear("synced") == list(log.durable)
    assert read_cursor(log.state.cursors / "store.json") == log.durable
    assert worker.leave() == 0


def test_nothing_beyond_the_durable_position_is_applied(log, start):
    emitter = Emitter().open()
    log.add(emitter)
    durable = log.durable
    log.add(emitter.metrics({"a": 1.0}))
    worker = start()

    worker.say(durable=list(durable), sync=1)

    assert worker.hear("token") == 1
    assert verify_run(folder_of(log, emitter)).sessions[0].n == 1


def test_end_of_input_leaves_with_everything_synced(log, start):
    emitter = Emitter().open()
    log.add(emitter)
    worker = start()
    worker.say(durable=list(log.durable))
    worker.hear("applied")

    assert worker.leave() == 0
    assert read_cursor(log.state.cursors / "store.json") == log.durable


def test_what_was_applied_is_saved_also_where_nobody_hears_of_it_any_more(log, start):
    log.add(Emitter().open().metrics({"a": 1.0}))
    worker = start()
    worker.process.stdout.close()  # as after a kill of the collector

    worker.say(durable=list(log.durable))

    cursor = log.state.cursors / "store.json"
    wait_until(lambda: read_cursor(cursor) == log.durable or worker.process.poll() is not None)
    assert read_cursor(cursor) == log.durable
    assert worker.leave() == 0


@pytest.mark.parametrize(("slow", "quick"), [(True, False), (False, True)])
def test_steps_that_take_long_become_short_and_short_ones_longer(log, monkeypatch, slow, quick):
    """Even with little CPU time, the store soon checks a barrier or its predecessor's end."""
    monkeypatch.setattr(module, "SLOW_S", -1.0 if slow else 1e9)
    monkeypatch.setattr(module, "QUICK_S", 1e9 if quick else -1.0)
    emitter = Emitter().open()
    for _ in range(40):
        for _ in range(1000):
            emitter.metrics({"a": 1.0})
        log.add(emitter)
    log.state.cursors.mkdir()
    reported = []
    store = applied(log)
    commands = module.SupervisorCommands(-1, store)
    commands.durable = log.durable
    worker = module.Worker(store, log.state, commands, reported.append)

    while worker.step():
        pass

    ends = [line["applied"][1] for line in reported if "applied" in line]
    steps = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    assert len(steps) >= 3
    assert (steps[-2] < steps[0]) == slow
    assert ends[-1] == log.durable.offset


def test_killed_worker_is_gone_on_from_by_the_next(log, start):
    emitter = Emitter().open().metrics({"a": 1.0})
    log.add(emitter)
    first = start()
    first.say(durable=list(log.durable))
    first.hear("applied")
    first.process.kill()
    first.process.wait()
    log.next_segment().add(emitter.metrics({"a": 2.0}))

    second = start()
    second.say(durable=list(log.durable), sync=2)
    second.hear("token")

    assert values(Run(folder_of(log, emitter)).metric("a")) == [1.0, 2.0]
    assert verify_run(folder_of(log, emitter)).exit_code == 0


def test_second_worker_waits_for_the_first_to_be_gone(log, start):
    emitter = Emitter().open()
    log.add(emitter)
    first = start()
    first.say(durable=list(log.durable), sync=1)
    first.hear("token")
    second = start()
    second.say(durable=list(log.durable), sync=2)
    with pytest.raises(subprocess.TimeoutExpired):
        second.process.wait(1.0)

    first.leave()

    assert second.hear("token") == 2


def test_deleted_run_is_let_go_before_the_token_is_answered(log, start):
    emitter = Emitter().open()
    log.add(emitter)
    worker = start()
    worker.say(durable=list(log.durable), sync=1)
    worker.hear("token")

    Tombstones(log.state.tombstones).add(emitter.uid)
    worker.say(run_gone=emitter.uid.hex(), sync=2)
    worker.hear("token")
    log.add(emitter.metrics({"a": 1.0}))
    worker.say(durable=list(log.durable), sync=3)
    worker.hear("token")

    assert Run(folder_of(log, emitter)).metric_names() == []
