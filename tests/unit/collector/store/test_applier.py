"""Applying the log: once, in order, with a reason for every missing event."""

import json
import secrets
import shutil

import pytest

from neural.tracking.collector.log.items import LoggedSession, SessionMark
from neural.tracking.collector.log.reader import LEAST_CHUNK_BYTES, LogReader
from neural.tracking.collector.store import part_set, run_writer
from neural.tracking.errors import RetryLater
from neural.tracking.reader.run import Run
from neural.tracking.state.tombstones import Tombstones
from neural.tracking.verify.verify import verify_run
from tests.made_runs import Emitter, Log, applied, folder_of, values


def account(log, emitter):
    (session,) = [s for s in verify_run(folder_of(log, emitter)).sessions if s.session == emitter.session.hex()]
    return session


def test_applying_the_log_twice_stores_everything_once(log):
    emitter = Emitter().open().metrics({"loss": 1.0}).metrics({"loss": 2.0})
    log.add(emitter)

    applied(log).close()
    applied(log).close()

    assert values(Run(folder_of(log, emitter)).metric("loss")) == [1.0, 2.0]
    assert account(log, emitter).stored == 3


def test_what_was_never_flushed_comes_again_from_the_log(log):
    emitter = Emitter().open()
    first = applied(log.add(emitter))
    emitter.metrics({"loss": 1.0}).event("text", name="note", text="once")
    applied(log.add(emitter), first, flush=False)  # never closed: the process died here

    applied(log).close()

    stored = Run(folder_of(log, emitter))
    assert values(stored.metric("loss")) == [1.0]
    assert [text["text"] for text in stored.texts()] == ["once"]
    assert account(log, emitter).doubled == []


def test_compaction_before_the_ledger_was_written_doubles_nothing(log):
    emitter = Emitter().open()
    sink = applied(log.add(emitter))
    applied(log.add(emitter.metrics({"loss": 1.0})), sink, flush=False)
    (writer,) = sink.writers.values()
    writer.compact()  # never flushed: the process died here

    applied(log).close()

    assert values(Run(folder_of(log, emitter)).metric("loss")) == [1.0]
    assert account(log, emitter).doubled == []


def test_gap_in_the_stream_is_kept_with_its_reason(log):
    emitter = Emitter().open().metrics({"loss": 1.0}).gap(3).metrics({"loss": 2.0})

    applied(log.add(emitter)).close()

    assert account(log, emitter).gaps == [(3, 5, "outbox_full")]
    assert account(log, emitter).missing == []


def test_numbers_missing_between_batches_become_a_gap(log):
    emitter = Emitter().open()
    log.add(emitter)
    log.add(emitter.lose(4).metrics({"loss": 1.0}))

    applied(log).close()

    assert account(log, emitter).gaps == [(2, 5, "log_damaged")]


def test_numbers_missing_at_the_end_become_a_gap_with_the_goodbye(log):
    emitter = Emitter().open()
    log.add(emitter)
    emitter.lose(2)

    applied(log.bye(emitter)).close()

    assert account(log, emitter).gaps == [(2, 3, "log_damaged")]


def test_damaged_log_record_is_an_exact_gap(log):
    emitter = Emitter().open()
    log.add(emitter)
    at = log.path.stat().st_size
    log.add(emitter.metrics({"loss": 1.0}).metrics({"loss": 2.0}))
    log.add(emitter.metrics({"loss": 3.0}))
    data = bytearray(log.path.read_bytes())
    data[at + 130] ^= 1
    log.path.write_bytes(data)

    applied(log).close()

    assert values(Run(folder_of(log, emitter)).metric("loss")) in ([3.0], [])
    assert account(log, emitter).missing == []
    assert (2, 3) in {(first, min(last, 3)) for first, last, _ in account(log, emitter).gaps}


def test_events_whose_metric_names_are_lost_are_a_gap_and_the_rest_of_the_batch_is_kept(log):
    emitter = Emitter().open().metrics({"loss": 1.0}).event("text", name="n", text="kept").metrics({"acc": 2.0})
    emitter.new_schemas = emitter.new_schemas[: len(emitter.new_schemas) // 2]  # of the first name

    applied(log.add(emitter).add(emitter.metrics({"loss": 3.0})))

    stored = Run(folder_of(log, emitter))
    assert values(stored.metric("loss")) == [1.0, 3.0]
    assert [text["text"] for text in stored.texts()] == ["kept"]
    assert stored.gaps == {emitter.session.hex(): [(4, 4, "log_damaged")]}
    assert verify_run(stored.folder).exit_code == 0


def test_gap_note_closes_the_hole_it_names(log):
    emitter = Emitter().open()
    log.add(emitter)
    emitter.lose(4)
    log.note(emitter, "gap", "2-5", first=2, last=5, reason="log_lost")
    log.add(emitter.metrics({"loss": 1.0}))

    applied(log).close()

    assert account(log, emitter).gaps == [(2, 5, "log_lost")]


def test_note_repeated_by_the_log_is_kept_once(log):
    emitter = Emitter().open()
    log.add(emitter).note(emitter, "died", "x", signal=9).note(emitter, "died", "x", signal=9)

    applied(log).close()
    applied(log).close()

    lines = next(folder_of(log, emitter).glob("events-*.jsonl")).read_text()
    assert lines.count('"note":"died"') == 1


def test_batch_that_overlaps_what_is_stored_is_kept_once(log):
    emitter = Emitter().open().metrics({"loss": 1.0})
    start, payload = emitter.offset, emitter.payload
    log.add(emitter)
    emitter.metrics({"loss": 2.0})
    emitter.first, emitter.offset, emitter.payload = 1, start, payload + emitter.payload
    log.add(emitter)

    applied(log).close()

    assert values(Run(folder_of(log, emitter)).metric("loss")) == [1.0, 2.0]
    assert account(log, emitter).doubled == []


def test_two_sessions_with_the_same_numbers_are_both_kept(log):
    one = Emitter().open().metrics({"loss": 1.0})
    other = Emitter(one.uid, rank=1, role="rank").open().metrics({"loss": 2.0})

    applied(log.add(one).add(other)).close()

    assert sorted(values(Run(folder_of(log, one)).metric("loss", ranks="all"))) == [1.0, 2.0]


def test_next_segment_of_the_log_is_read_on(log):
    emitter = Emitter().open().metrics({"loss": 1.0})
    sink = applied(log.add(emitter))
    log.next_segment().add(emitter.metrics({"loss": 2.0}))

    applied(log, sink, sink.position).close()

    assert values(Run(folder_of(log, emitter)).metric("loss")) == [1.0, 2.0]


def test_removed_run_folder_is_made_again_and_what_it_held_is_a_gap(log):
    emitter = Emitter().open().metrics({"loss": 1.0})
    sink = applied(log.add(emitter))
    shutil.rmtree(folder_of(log, emitter))

    applied(log.add(emitter.metrics({"loss": 2.0})), sink, sink.position).close()

    stored = Run(folder_of(log, emitter))
    assert stored.uid == emitter.uid
    assert values(stored.metric("loss")) == [2.0]
    assert account(log, emitter).gaps == [(1, 2, "run_folder_removed")]


def test_run_folder_removed_between_two_workers_is_a_gap(log):
    emitter = Emitter().open().metrics({"loss": 1.0})
    sink = applied(log.add(emitter))
    sink.close()
    shutil.rmtree(folder_of(log, emitter))

    applied(log.add(emitter.metrics({"loss": 2.0})), start=sink.position).close()

    assert account(log, emitter).gaps == [(1, 2, "run_folder_removed")]


def test_deleted_run_is_not_made_again(log):
    emitter = Emitter().open()
    log.state.tombstones.mkdir(parents=True)
    (log.state.tombstones / emitter.uid.hex()).touch()

    applied(log.add(emitter)).close()

    assert not folder_of(log, emitter).exists()


def test_run_deleted_while_it_is_live_is_let_go(log):
    emitter = Emitter().open()
    sink = applied(log.add(emitter))

    Tombstones(log.state.tombstones).add(emitter.uid)
    sink.on_run_removed(emitter.uid.hex())
    shutil.rmtree(folder_of(log, emitter))
    applied(log.add(emitter.metrics({"loss": 1.0})), sink, sink.position).close()

    assert not folder_of(log, emitter).exists()


def later(log, emitter):
    """Return the emitter of a session that was opened after the run was removed."""
    again = Emitter(uid=emitter.uid)
    again.info["after"] = Tombstones(log.state.tombstones).newest(emitter.uid)
    return again


def test_session_opened_after_the_removal_gets_its_run_and_one_from_before_stays_out(log):
    before = Emitter().open().metrics({"loss": 1.0})
    sink = applied(log.add(before))
    Tombstones(log.state.tombstones).add(before.uid)
    sink.on_run_removed(before.uid.hex())
    shutil.rmtree(folder_of(log, before))
    after = later(log, before).open().metrics({"loss": 2.0})

    for emitter in (after, before.metrics({"loss": 3.0})):
        sink = applied(log.add(emitter), sink, sink.position)
    sink.close()
    applied(log).close()  # a new store that starts at the beginning of the log

    assert values(Run(folder_of(log, before)).metric("loss")) == [2.0]
    assert [session.session for session in verify_run(folder_of(log, before)).sessions] == [after.session.hex()]
    assert verify_run(folder_of(log, before)).exit_code == 0


def test_second_removal_covers_what_was_opened_after_the_first(log):
    first = Emitter().open()
    stones = Tombstones(log.state.tombstones)
    stones.add(first.uid)
    second = later(log, first)
    stones.add(first.uid)

    applied(log.add(second.open())).close()

    assert not folder_of(log, first).exists()


@pytest.mark.parametrize("told", ["../outside", "/tmp/outside", ".ntrack", "a/b", "..", "", "a\0b"])
def test_folder_name_from_a_peer_never_leaves_base_dir(tmp_path, told):
    log = Log(tmp_path / "runs")
    emitter = Emitter()
    emitter.info["dir"] = told

    applied(log.add(emitter.open())).close()

    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    assert (tmp_path / "runs" / f"exp_{emitter.uid.hex()[:8]}" / "run.json").exists()


def test_folder_of_another_run_is_left_alone(log):
    emitter = Emitter()
    taken = folder_of(log, emitter)
    taken.mkdir()
    (taken / "run.json").write_text(json.dumps({"uid": secrets.token_hex(16), "name": "exp", "opened_ns": 1}))

    applied(log.add(emitter.open())).close()

    assert [path.name for path in taken.iterdir()] == ["run.json"]
    assert Run(log.state.base_dir / f"run_{emitter.uid.hex()}").uid == emitter.uid


def test_full_tail_becomes_a_part_and_parts_are_merged(log, monkeypatch):
    monkeypatch.setattr(run_writer, "TAIL_BYTES", 1000)
    emitter = Emitter().open()
    sink = applied(log.add(emitter))
    for i in range(600):
        log.add(emitter.metrics({"loss": float(i), "acc": -float(i)}))
    applied(log, sink, sink.position)
    for _ in range(20):
        sink.flush()
    sink.close()

    stored = Run(folder_of(log, emitter))
    assert values(stored.metric("loss")) == [float(i) for i in range(600)]
    assert values(stored.metric("acc")) == [-float(i) for i in range(600)]
    assert any(part.level > 1 for part in stored._points.parts)
    assert account(log, emitter).stored == 601


def test_merging_sorts_many_metrics_and_sessions(log, monkeypatch):
    monkeypatch.setattr(part_set, "WINDOW_ROWS", 7)
    emitters = [Emitter(rank=0)]
    emitters += [Emitter(emitters[0].uid, rank=rank, role="rank") for rank in (1, 2)]
    sink = None
    for round_ in range(8):
        for emitter in emitters:
            for name in ("a", "b", "c", "d"):
                emitter.metrics({name: float(round_), "shared": float(emitter.info["rank"])})
            log.add(emitter)
        sink = applied(log, sink, sink.position if sink else None)
        for writer in sink.writers.values():
            writer.compact()
            writer.flush()
    sink.flush()
    sink.close()

    stored = Run(folder_of(log, emitters[0]))
    assert [part.level for part in stored._points.parts] == [1]
    assert verify_run(stored.folder).exit_code == 0
    for name in ("a", "b", "c", "d"):
        assert values(stored.metric(name, ranks=1)) == [float(i) for i in range(8)]
    assert values(stored.metric("shared", ranks=2)) == [2.0] * 32


def test_other_collectors_work_is_gone_on_from(log):
    emitter = Emitter().open().metrics({"loss": 1.0})
    sink = applied(log.add(emitter))
    sink.close()
    (log.state.root / "id").unlink()  # the state folder was lost, and another collector started

    applied(log.add(emitter.metrics({"loss": 2.0}))).close()

    assert values(Run(folder_of(log, emitter)).metric("loss")) == [1.0, 2.0]
    assert account(log, emitter).doubled == []
    assert account(log, emitter).gaps == []


def test_missing_base_dir_is_tried_again_later(log):
    sink = applied(log)
    emitter = Emitter().open()
    session = LoggedSession(emitter.session, emitter.uid, emitter.info)
    shutil.rmtree(log.state.base_dir)

    with pytest.raises(RetryLater, match="is missing"):
        sink.write([SessionMark(session, 1, None)])


def test_ten_thousand_metric_names_are_stored(log):
    emitter = Emitter().open()
    emitter.event("metrics", names=[f"m{i}" for i in range(10_000)], values=[float(i) for i in range(10_000)])

    applied(log.add(emitter.end()).bye(emitter)).close()

    assert values(Run(folder_of(log, emitter)).metric("m9999")) == [9999.0]


def test_file_in_the_place_of_one_run_holds_up_no_run(log):
    blocked, other = Emitter().open().metrics({"loss": 1.0}), Emitter().open().metrics({"loss": 2.0})
    folder_of(log, blocked).write_text("in the way")

    applied(log.add(blocked).add(other)).close()

    assert values(Run(folder_of(log, other)).metric("loss")) == [2.0]
    assert values(Run(log.state.base_dir / f"run_{blocked.uid.hex()}").metric("loss")) == [1.0]


def test_batch_longer_than_what_is_read_at_once_is_not_taken_for_the_end(log):
    emitter = Emitter().open()
    for step in range(20_000):
        emitter.metrics({"accuracy": 0.5}, step=step)
    log.add(emitter)
    follower = LogReader(log.state.log, None)
    follower.chunk_bytes = LEAST_CHUNK_BYTES

    taken = []
    while items := follower.read(log.durable):
        taken += [item.last for item in items]
    follower.close()

    assert taken == [20_001]
