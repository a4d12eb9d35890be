"""The store is killed at every step of applying, compacting and merging: nothing is lost or doubled."""

import multiprocessing
import random
import shutil
import signal

import pyarrow.parquet as pq
import pytest

from neural.tracking.collector.log.reader import CursorPosition, LogReader, read_cursor
from neural.tracking.collector.store import run_writer
from neural.tracking.collector.store.applier import StoreApplier
from neural.tracking.core.files import write_json
from neural.tracking.formats import segment
from neural.tracking.reader import json_views
from neural.tracking.reader.run import Run
from neural.tracking.verify.verify import verify_run
from tests.faults.harness import rounds
from tests.faults.injection import attach_strace, needs_strace
from tests.made_runs import Emitter, applied, folder_of, values

STEPS = (
    "fsync",
    "fdatasync",
    "rename",
    "unlink",
    "ftruncate",
    "pwritev",
    "pwritev2",
    "pwrite64",
    "write",
    "openat",
)
BATCHES = 30

# Preloaded, so that a trial takes milliseconds; a new interpreter under strace takes seconds.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["pyarrow.parquet", "tests.integration.store.test_kills"])


def prepared(log):
    """Return a log with everything that a run can contain; its small tails cause compacting and merging."""
    emitter = Emitter().open(tags=["t"])
    log.add(emitter)
    for i in range(BATCHES):
        emitter.metrics({"loss": float(i), "acc": -float(i)})
        if i % 5 == 0:
            emitter.event("text", name="n", text=str(i)).gap(2)
        log.add(emitter)
    log.add(emitter.event("params", values={"lr": 0.1}, as_text=[]).end()).bye(emitter)
    return emitter


def work(log, go):
    """Apply the log as a worker does, batch by batch, with a durable cursor after each flush."""
    run_writer.TAIL_BYTES = 600
    go.recv()
    cursor = log.state.cursors / "store.json"
    cursor.parent.mkdir(exist_ok=True)
    sink = StoreApplier(log.state)
    sink.open()
    follower = LogReader(log.state.log, read_cursor(cursor))
    for step, offset in enumerate(boundaries(log)):
        if follower.position is not None and offset < follower.position.offset:
            continue
        while items := follower.read(CursorPosition(log.durable.uuid, offset)):
            sink.write(items)
        if step % 5 == 0 or offset == log.durable.offset:
            sink.flush()
            if follower.position is not None:
                write_json(cursor, {"position": list(follower.position)})
    sink.close()


def boundaries(log):
    """Return the ends of records, as a collector reports durable positions."""
    found = segment.scan(log.path.read_bytes(), log.uuid, base=-64, start=64)
    return [record.end for record in found]


def killed_at(log, call, nth):
    """Run :func:`work` and kill it at its nth ``call``; return whether it reached that call."""
    here, there = SERVER.Pipe()
    process = SERVER.Process(target=work, args=(log, there))
    process.start()
    tracer = attach_strace(process.pid, calls=[call], nth=nth, signal="SIGKILL")
    here.send("go")
    process.join(120)
    tracer.terminate()
    tracer.wait()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def check_as_left(log, emitter):
    """Assert that, before any repair, a reader finds the first emitted values, each once."""
    folder = folder_of(log, emitter)
    if folder.is_dir():
        found = values(Run(folder).metric("loss"))
        assert found == [float(i) for i in range(len(found))]


def check(log, emitter):
    """Let a second worker finish, then compare every value with the emitted one."""
    sink = applied(log, start=read_cursor(log.state.cursors / "store.json"))
    sink.flush()
    sink.close()
    stored = Run(folder_of(log, emitter))
    report = verify_run(stored.folder)
    assert report.exit_code == 0, report
    assert [gap[2] for gap in report.sessions[0].gaps] == ["outbox_full"] * (BATCHES // 5)
    assert values(stored.metric("loss")) == [float(i) for i in range(BATCHES)]
    assert values(stored.metric("acc")) == [-float(i) for i in range(BATCHES)]
    assert [text["text"] for text in stored.texts()] == [str(i) for i in range(0, BATCHES, 5)]
    for name in json_views.NAMES:
        assert (stored.folder / f"{name}.json").read_bytes() == json_views.view_text(stored, name)
    parquet = [pq.read_table(path) for path in stored.folder.glob("metrics/*.parquet")]
    assert sum(map(len, parquet)) == 2 * BATCHES  # also for a reader that does not know merged parts
    left = [path.name for path in stored.folder.rglob("*") if "tmp" in path.name]
    assert [name for name in left if not name.startswith(".tmp-")] == []


@needs_strace
@pytest.mark.parametrize("call", STEPS)
def test_kill_at_any_step_loses_and_doubles_nothing(log, tmp_path, call):
    emitter = prepared(log)
    before = tmp_path / "before"
    shutil.copytree(log.state.base_dir, before, ignore=shutil.ignore_patterns("before"))
    count = rounds(4, 10_000)
    tries = range(1, count) if count > 1000 else sorted(random.sample(range(1, 40), count))

    for nth in tries:
        shutil.rmtree(folder_of(log, emitter), ignore_errors=True)
        shutil.rmtree(log.state.root)
        shutil.copytree(before / ".ntrack", log.state.root)
        reached = killed_at(log, call, nth)
        check_as_left(log, emitter)
        check(log, emitter)
        if not reached:
            break


def test_worker_that_is_not_killed_passes_the_same_check(log):
    emitter = prepared(log)
    here, there = SERVER.Pipe()
    process = SERVER.Process(target=work, args=(log, there))
    process.start()
    here.send("go")
    process.join(120)

    assert process.exitcode == 0
    assert list(folder_of(log, emitter).glob("metrics/part-*.parquet"))
    check(log, emitter)
