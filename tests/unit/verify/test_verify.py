"""verify checks that every event is accounted for: missing, doubled, pending and damaged ones are counted."""

import json
import shutil

import numpy as np

from neural.tracking.collector.store.part_writer import PartWriter
from neural.tracking.formats import ledgers
from neural.tracking.reader.rows import Gathering
from neural.tracking.reader.run import Run
from neural.tracking.state.tombstones import Late, Tombstones
from neural.tracking.verify.counts import NumberSet
from neural.tracking.verify.verify import merged_gaps, verify_base, verify_run
from tests.made_runs import Emitter, applied, folder_of


def stored(log, emitter):
    applied(log.add(emitter)).close()
    return folder_of(log, emitter)


def test_everything_stored_is_in_order(log):
    report = verify_run(stored(log, Emitter().open().metrics({"a": 1.0})))

    assert report.exit_code == 0
    assert (report.sessions[0].n, report.sessions[0].stored) == (2, 2)


def test_line_taken_out_is_missing(log):
    folder = stored(log, Emitter().open().event("text", name="n", text="t").metrics({"a": 1.0}))
    (path,) = folder.glob("events-*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b'"kind":"text"' not in line))

    report = verify_run(folder)

    assert report.sessions[0].missing == [(2, 2)]
    assert report.exit_code == 6


def test_part_taken_away_is_missing(log):
    emitter = Emitter().open().metrics({"a": 1.0}).metrics({"a": 2.0}).end()
    folder = stored(log, emitter)
    for part in (folder / "metrics").glob("part-*"):
        part.unlink()

    assert verify_run(folder).sessions[0].missing == [(2, 3)]


def test_part_that_is_there_twice_is_doubled(log):
    emitter = Emitter().open().metrics({"a": 1.0}).end()
    folder = stored(log, emitter)
    (part,) = Run(folder)._points.parts
    gathering = Gathering()
    columns = Run(folder).metric("a")
    session = emitter.session.hex()
    from neural.tracking.formats.event_stream import MetricBlock

    seq = columns.seq.astype(np.uint64)
    block = MetricBlock(("a",), seq, columns.time_ns, columns.step, columns.value[:, None])
    gathering.add(session, block)
    path = part.path.with_name(f"part-{part.collector}-7.parquet")
    writer = PartWriter(path, collector=part.collector, number=7, level=0, ranks={})
    writer.add(gathering.sorted())
    writer.finish({session: (1, 3)}, calls=1, replaces=[])

    report = verify_run(folder)

    assert report.sessions[0].doubled == [(2, 2)]
    assert report.exit_code == 6


def test_total_that_was_told_counts_although_nothing_of_it_came(log):
    folder = stored(log, Emitter().open())
    (path,) = folder.glob("ledger-*.json")
    ledger = ledgers.read(path)
    next(iter(ledger.sessions.values())).last = 4
    path.write_bytes(ledger.encode())

    assert verify_run(folder).sessions[0].missing == [(2, 4)]


def test_moved_run_folder_verifies_by_itself(log, tmp_path_factory):
    folder = stored(log, Emitter().open().metrics({"a": 1.0}).end())
    moved = tmp_path_factory.mktemp("elsewhere") / "run"
    shutil.move(folder, moved)

    assert verify_run(moved).exit_code == 0


def test_events_still_in_the_log_are_pending(log):
    emitter = Emitter().open()
    sink = applied(log.add(emitter))
    sink.close()
    log.state.cursors.mkdir()
    (log.state.cursors / "store.json").write_text(json.dumps({"position": list(sink.position)}))
    log.add(emitter.metrics({"a": 1.0}).gap(2))

    report = verify_base(log.state.base_dir)

    assert report.exit_code == 3
    assert report.runs[0].sessions[0].pending == [(2, 4)]


def test_run_that_is_only_in_the_log_is_pending(log):
    log.add(Emitter().open())

    report = verify_base(log.state.base_dir)

    assert report.exit_code == 3
    assert [session.pending for session in report.runs[0].sessions] == [[(1, 1)]]


def test_segment_that_a_kill_left_half_made_is_none(log):
    log.add(Emitter().open())
    log.path.with_name(f".tmp-0123456789ab-{log.path.name}").write_bytes(log.path.read_bytes())

    report = verify_base(log.state.base_dir)

    assert report.exit_code == 3
    assert [session.pending for run in report.runs for session in run.sessions] == [[(1, 1)]]


def test_deleted_run_in_the_log_is_not_pending(log):
    emitter = Emitter().open()
    log.add(emitter)
    log.state.tombstones.mkdir(parents=True)
    (log.state.tombstones / emitter.uid.hex()).touch()

    assert verify_base(log.state.base_dir).runs == []


def test_what_came_after_a_removal_is_told_as_a_gap_with_the_runs_that_are_there(log):
    stones = Tombstones(log.state.tombstones)
    gone, lives = Emitter().open(), Emitter().open()
    stored(log, lives)
    stones.add(gone.uid, "exp_gone")
    stones.account("00000001", gone.uid, gone.session, Late(7, 1, exact=True))
    stones.account("00000001", gone.uid, b"s" * 16, Late(2))

    report = verify_base(log.state.base_dir)

    assert [(run.folder.name, run.removed) for run in report.runs] == [
        (folder_of(log, lives).name, False),
        ("exp_gone", True),
    ]
    told = {s.session: (s.n, s.rank, s.gaps, s.open_gap) for s in report.runs[1].sessions}
    assert told == {
        gone.session.hex(): (7, 1, [(1, 7, "run_deleted")], None),
        (b"s" * 16).hex(): (2, 0, [(1, 2, "run_deleted")], "run_deleted"),
    }
    assert report.exit_code == 0


def test_gaps_are_united_less_what_is_stored():
    stored = NumberSet()
    stored.add(np.array([3]))

    gaps = merged_gaps([(1, 4, "a"), (2, 6, "a"), (5, 8, "b")], stored)

    assert gaps == [(1, 2, "a"), (4, 6, "a"), (7, 8, "b")]
