"""The contract between a worker and its applier: four methods are enough."""

import os

from neural.tracking.collector.applier import Applier
from neural.tracking.collector.log.reader import read_cursor
from neural.tracking.collector.workers.worker import SupervisorCommands, Worker
from neural.tracking.errors import RetryLater
from tests.made_runs import Emitter, Log


class Plain(Applier):
    name = "plain"

    def __init__(self, failing=()):
        self.calls = []
        self.seqs = []
        self._failing = list(failing)

    def open(self):
        self._call("open")

    def write(self, batch):
        self._call("write")
        self.seqs += [item.last for item in batch]

    def flush(self):
        self._call("flush")

    def close(self):
        self._call("close")

    def _call(self, name):
        self.calls.append(name)
        if name in self._failing:
            self._failing.remove(name)
            raise RetryLater("not now")


def worked(log, applier, *lines):
    """Run a worker until its input ends, as ``main`` does; return what it reported."""
    reported = []
    read_end, write_end = os.pipe()
    log.state.cursors.mkdir(parents=True, exist_ok=True)
    try:
        commands = SupervisorCommands(read_end, applier)
        worker = Worker(applier, log.state, commands, reported.append)
        os.write(write_end, b"".join(lines))
        commands.wait(0.0)
        worker.open()
        while worker.step():
            pass
        os.close(write_end)
        worker.run()
    finally:
        applier.close()
        os.close(read_end)
    return reported


def test_applier_with_open_write_flush_and_close_only_works_in_a_worker(tmp_path):
    log = Log(tmp_path)
    log.add(Emitter().open().metrics({"a": 1.0}))
    applier = Plain()

    reported = worked(log, applier, durable(log), b'{"sync": 1, "run_gone": "%s"}\n' % (b"0" * 32))

    assert applier.calls[:2] == ["open", "write"]
    assert applier.calls[-2:] == ["flush", "close"]
    assert 2 in applier.seqs
    assert {"token": 1} in reported
    assert reported[-1] == {"synced": list(log.durable)}
    assert read_cursor(log.state.cursors / "plain.json") == log.durable


def test_batch_comes_again_after_retry_later_and_what_was_before_it_is_flushed_first(tmp_path, monkeypatch):
    monkeypatch.setattr("neural.tracking.collector.workers.worker.FIRST_RETRY_S", 0.0)
    log = Log(tmp_path)
    log.add(Emitter().open())
    applier = Plain(failing=["open", "write"])

    worked(log, applier, durable(log))

    assert applier.calls[:5] == ["open", "open", "write", "flush", "write"]


def durable(log):
    segment, offset = log.durable
    return b'{"durable": ["%s", %d]}\n' % (segment.encode(), offset)
