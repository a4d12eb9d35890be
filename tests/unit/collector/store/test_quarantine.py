"""A run whose folder cannot be used delays no other run, and loses nothing."""

import os
import shutil

import pytest

from neural.tracking.collector.ingest.barriers import Barriers
from neural.tracking.collector.log.sessions import START, SessionState
from neural.tracking.collector.store.run_writer import RunWriter
from neural.tracking.core.files import write_json
from neural.tracking.reader.run import Run
from neural.tracking.state.quarantine import list_quarantined
from neural.tracking.verify.verify import verify_base
from tests.made_runs import Emitter, applied, folder_of, values


@pytest.fixture(autouse=True)
def in_its_place(monkeypatch):
    """Let ``verify_base`` use the folder of the log."""
    monkeypatch.delenv("NTRACK_STATE_DIR", raising=False)


def unusable(log, emitter):
    """Make a run's folder unusable: put a file in the place of its metrics folder."""
    folder = folder_of(log, emitter)
    folder.mkdir()
    (folder / "metrics").write_text("not a folder")


def usable_again(log, emitter):
    (folder_of(log, emitter) / "metrics").unlink()


def try_at_once(sink):
    """Remove the pause before the next try of this worker and the next one."""
    for held in sink._quarantined.values():
        held._why["retry_s"] = 0.0
        write_json(held.place / "why.json", held._why)


def breaks(sink, emitter):
    """Close the tail's file of an open writer: its next append fails with EBADF."""
    tail = sink.writers[emitter.uid]._tail
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, tail._fd)
    os.close(nowhere)


def test_other_runs_go_on(log):
    good, bad = Emitter(name="good").open(), Emitter(name="bad").open()
    unusable(log, bad)
    log.add(bad.metrics({"loss": 1.0})).add(good.metrics({"loss": 2.0}))

    applied(log).close()

    assert values(Run(folder_of(log, good)).metric("loss")) == [2.0]


def test_what_it_holds_is_pending_for_verify_and_the_reason_is_told(log):
    bad = Emitter(name="bad").open().metrics({"loss": 1.0})
    unusable(log, bad)
    sink = applied(log.add(bad))
    log.next_segment()  # the cursor has passed the first segment, so it is deleted
    for path in sorted(log.state.log.glob("*.seg"))[:-1]:
        path.unlink()

    report = verify_base(log.state.base_dir)

    assert [session.pending for run in report.runs for session in run.sessions] == [[(1, 2)]]
    assert report.exit_code == 3
    (told,) = list_quarantined(log.state)
    assert told.run == bad.info["dir"] and "metrics" in told.error
    sink.close()


def test_once_the_folder_can_be_used_everything_is_in_it_once_and_in_order(log):
    bad = Emitter(name="bad").open()
    unusable(log, bad)
    sink = applied(log.add(bad.metrics({"loss": 1.0})))
    sink = applied(log.add(bad.metrics({"loss": 2.0, "acc": 3.0}).gap(2)), sink, sink.position)
    usable_again(log, bad)
    try_at_once(sink)

    sink = applied(log.add(bad.metrics({"loss": 4.0}).end()).bye(bad), sink, sink.position)
    sink.close()

    run = Run(folder_of(log, bad))
    assert values(run.metric("loss")) == [1.0, 2.0, 4.0]
    assert run.status == "completed"
    assert list_quarantined(log.state) == []
    assert verify_base(log.state.base_dir).exit_code == 0


def test_a_worker_that_died_leaves_it_to_the_next(log):
    bad = Emitter(name="bad").open().metrics({"loss": 1.0})
    unusable(log, bad)
    died = applied(log.add(bad))  # never closed
    try_at_once(died)
    torn = next(log.state.quarantine.glob("*/*.seg"))
    with torn.open("ab") as file:
        file.write(torn.read_bytes()[64:100])  # an unfinished append
    usable_again(log, bad)

    sink = applied(log.add(bad.metrics({"loss": 2.0})), start=died.position)
    sink.close()

    assert values(Run(folder_of(log, bad)).metric("loss")) == [1.0, 2.0]
    assert verify_base(log.state.base_dir).exit_code == 0


def test_a_crash_before_it_was_removed_doubles_nothing(log, tmp_path):
    bad = Emitter(name="bad").open().metrics({"loss": 1.0})
    unusable(log, bad)
    sink = applied(log.add(bad))
    try_at_once(sink)
    shutil.copytree(log.state.quarantine, tmp_path / "kept")
    usable_again(log, bad)
    sink.flush()
    sink.close()
    shutil.copytree(tmp_path / "kept", log.state.quarantine, dirs_exist_ok=True)

    applied(log, start=sink.position).close()

    assert values(Run(folder_of(log, bad)).metric("loss")) == [1.0]
    assert list_quarantined(log.state) == []


def test_a_run_that_breaks_while_it_is_written_is_read_again_and_then_held_back(log):
    good, bad = Emitter(name="good").open(), Emitter(name="bad").open()
    sink = applied(log.add(bad).add(good))
    start = sink.position
    sink = applied(
        log.add(bad.metrics({"loss": 1.0}).event("text", name="n", text="t")), sink, start, flush=False
    )
    breaks(sink, bad)
    log.add(bad.metrics({"loss": 2.0})).add(good.metrics({"loss": 3.0}))

    with pytest.raises(OSError, match="read again"):
        applied(log, sink, sink.position)
    applied(log, start=start).close()

    assert values(Run(folder_of(log, bad)).metric("loss")) == [1.0, 2.0]
    assert values(Run(folder_of(log, good)).metric("loss")) == [3.0]
    assert verify_base(log.state.base_dir).exit_code == 0
    assert list_quarantined(log.state) == []


def test_a_run_that_breaks_with_all_of_it_durable_is_held_back_at_once(log):
    bad = Emitter(name="bad").open()
    sink = applied(log.add(bad))
    breaks(sink, bad)
    sink = applied(log.add(bad.metrics({"loss": 1.0})), sink, sink.position, flush=False)
    held = list_quarantined(log.state)

    sink.flush()
    sink.close()

    assert [run.run for run in held] == [bad.info["dir"]]
    assert values(Run(folder_of(log, bad)).metric("loss")) == [1.0]
    assert list_quarantined(log.state) == []


def test_an_event_on_which_the_store_itself_breaks_stops_only_its_own_run(log, monkeypatch):
    good, bad = Emitter(name="good").open(), Emitter(name="bad").open()
    apply = RunWriter.apply

    def breaking(writer, item):
        if writer.uid == bad.uid and item.last > 1:
            raise ZeroDivisionError("a mistake in the store")
        apply(writer, item)

    monkeypatch.setattr(RunWriter, "apply", breaking)
    log.add(bad).add(bad.metrics({"loss": 1.0})).add(good.metrics({"loss": 2.0}))
    with pytest.raises(OSError, match="read again"):  # the earlier events were not durable yet
        applied(log)
    sink = applied(log)
    monkeypatch.setattr(RunWriter, "apply", apply)  # the next release repairs it
    held = list_quarantined(log.state)
    try_at_once(sink)
    sink.flush()
    sink.close()

    assert [run.run for run in held] == [bad.info["dir"]]
    assert "a mistake in the store" in held[0].error
    assert values(Run(folder_of(log, good)).metric("loss")) == [2.0]
    assert values(Run(folder_of(log, bad)).metric("loss")) == [1.0]
    assert verify_base(log.state.base_dir).exit_code == 0


def test_a_deleted_run_leaves_quarantine_with_nothing(log):
    bad = Emitter(name="bad").open().metrics({"loss": 1.0})
    unusable(log, bad)
    sink = applied(log.add(bad))

    sink.on_run_removed(bad.uid.hex())

    assert list_quarantined(log.state) == []
    sink.close()


def test_a_full_disk_is_no_folders_fault(log):
    from neural.tracking.collector.store.applier import StoreApplier

    sink = StoreApplier(log.state)

    assert sink.is_shared_fault(OSError(28, "no space"))
    assert not sink.is_shared_fault(OSError(13, "not permitted"))


def test_nobody_is_told_that_a_held_back_run_is_visible():
    held, answers = [True], []
    barriers = Barriers(lambda uid: held[0])
    session = SessionState(bytes(16), bytes(16), {})
    session.mark_durable(1, START)

    barriers.add(session, 1, lambda: answers.append(1))
    barriers.on_applied(START)
    told_meanwhile = list(answers)
    held[0] = False
    barriers.recheck()

    assert (told_meanwhile, answers) == ([], [1])
