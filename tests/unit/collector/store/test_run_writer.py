"""What is valid after a crash: files are cut to the lengths of the ledger, which is synced before."""

import json

import pytest

from neural.tracking.collector.store import applier as sink_module
from neural.tracking.collector.store import run_writer as run_module
from neural.tracking.errors import RetryLater
from neural.tracking.formats import ledgers
from neural.tracking.reader.run import Run
from neural.tracking.verify.verify import verify_run
from tests.made_runs import Emitter, applied, folder_of, values


def only_writer(sink):
    (writer,) = sink.writers.values()
    return writer


def test_ledger_vouches_only_for_what_was_synced(log, monkeypatch):
    emitter = Emitter().open().metrics({"a": 1.0})
    sink = applied(log.add(emitter), flush=False)
    writer = only_writer(sink)
    seen = []
    write = run_module.atomic_write

    def checked(path, data):
        seen.append((writer._tail.dirty, writer._events.dirty))
        write(path, data)

    monkeypatch.setattr(run_module, "atomic_write", checked)
    sink.flush()
    sink.close()

    assert seen == [(False, False)]


@pytest.mark.parametrize("name", ["metrics/tail-*.seg", "events-*.jsonl"])
@pytest.mark.parametrize("garbage", [b"\x01", b"\0" * 24, b'{"crc":"', b"x\n" * 4000])
def test_what_a_crash_left_behind_the_durable_end_is_cut(log, name, garbage):
    emitter = Emitter().open().metrics({"a": 1.0})
    sink = applied(log.add(emitter))
    sink.close()
    (path,) = folder_of(log, emitter).glob(name)
    with path.open("ab") as file:
        file.write(garbage)

    log.add(emitter.metrics({"a": 2.0}).event("text", name="n", text="t"))
    applied(log, start=sink.position).close()

    report = verify_run(folder_of(log, emitter))
    assert report.exit_code == 0, report
    assert report.sessions[0].gaps == []
    assert values(Run(folder_of(log, emitter)).metric("a")) == [1.0, 2.0]


@pytest.mark.parametrize("last", [0, 1, 9])
def test_damaged_ledger_is_made_again_from_what_is_stored(log, last):
    emitter = Emitter().open().metrics({"a": 1.0})
    sink = applied(log.add(emitter))
    sink.close()
    (path,) = folder_of(log, emitter).glob("ledger-*.json")
    ledger = json.loads(path.read_text())
    next(iter(ledger["sessions"].values()))["last"] = last  # and its checksum remains the same
    path.write_text(json.dumps(ledger))

    applied(log.add(emitter.metrics({"a": 2.0})), start=sink.position).close()

    report = verify_run(folder_of(log, emitter))
    assert report.exit_code == 0, report
    assert report.sessions[0].gaps == []
    assert values(Run(folder_of(log, emitter)).metric("a")) == [1.0, 2.0]


def test_files_that_lost_their_ledger_are_kept_as_they_are(log):
    emitter = Emitter().open(tags=["t"]).metrics({"a": 1.0})
    sink = applied(log.add(emitter))
    sink.close()
    (ledger,) = folder_of(log, emitter).glob("ledger-*.json")
    ledger.unlink()

    applied(log.add(emitter.metrics({"a": 2.0})), start=sink.position).close()

    report = verify_run(folder_of(log, emitter))
    assert report.exit_code == 0, report
    assert report.sessions[0].gaps == []
    assert Run(folder_of(log, emitter)).tags == ["t"]
    assert values(Run(folder_of(log, emitter)).metric("a")) == [1.0, 2.0]


def test_failed_sync_ends_the_worker_instead_of_vouching(log, monkeypatch):
    emitter = Emitter().open().metrics({"a": 1.0})
    sink = applied(log.add(emitter), flush=False)

    def fails(fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("neural.tracking.collector.store.append_file.sync_data", fails)

    with pytest.raises(OSError, match="Input/output"):
        sink.flush()
    (ledger,) = ledgers.read_all(folder_of(log, emitter), []).values()
    assert ledger.sessions == {}


def test_full_disk_is_tried_again_and_nothing_is_doubled(log, monkeypatch):
    emitter = Emitter().open()
    sink = applied(log.add(emitter))
    log.add(emitter.metrics({"a": 1.0}).event("text", name="n", text="t"))
    from neural.tracking.collector.store import append_file

    real, calls = append_file.os.pwritev, []

    def full(fd, pieces, offset):
        calls.append(offset)
        if len(calls) in (1, 3):  # first the tail fails; then the tail succeeds and the lines fail
            raise OSError(28, "No space left on device")
        return real(fd, pieces, offset)

    monkeypatch.setattr(append_file.os, "pwritev", full)
    for _ in range(2):
        with pytest.raises(RetryLater, match="No space"):
            applied(log, sink, sink.position)
    applied(log, sink, sink.position).close()

    report = verify_run(folder_of(log, emitter))
    assert (report.exit_code, report.sessions[0].stored) == (0, 3)
    assert values(Run(folder_of(log, emitter)).metric("a")) == [1.0]


def test_many_runs_are_kept_open_only_up_to_a_limit(log, monkeypatch):
    monkeypatch.setattr(sink_module, "MAX_OPEN_RUNS", 3)
    emitters = [Emitter().open().metrics({"a": 1.0}) for _ in range(8)]
    for emitter in emitters:
        log.add(emitter)
    sink = applied(log)
    assert len(sink.writers) == 3

    for emitter in emitters:
        log.add(emitter.metrics({"a": 2.0}))
    applied(log, sink, sink.position).close()

    assert all(values(Run(folder_of(log, e)).metric("a")) == [1.0, 2.0] for e in emitters)
