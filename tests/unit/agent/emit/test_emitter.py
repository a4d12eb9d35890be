"""Numbers, segments, schemas: recovery finds exactly the emitted events."""

import itertools
import os

from neural.tracking.agent.emit.emitter import Emitter
from neural.tracking.agent.emit.outbox import Outbox
from neural.tracking.formats import events, segment
from neural.tracking.state import outbox_files as outbox_files
from tests.unit.agent.made import INFO, UID, account, fill, make_emitter, recover


def test_all_that_is_emitted_is_found_again_in_order(tmp_path):
    emitter = make_emitter(tmp_path)
    for i in range(1000):
        emitter.emit_metrics({"a": float(i)} if i % 3 else {"b": float(i), "c": 1.0}, i)

    found, lost = recover(emitter.outbox.folder)

    assert lost == []
    assert [seq for seq, _, _ in found] == list(range(1, 1001))
    assert all(next(iter(content.values())) == step for _, step, content in found)


def test_other_events_are_numbered_with_the_metrics(tmp_path):
    emitter = make_emitter(tmp_path)
    emitter.emit("open", {"name": "run"})
    emitter.emit_metrics({"m": 1.0})
    emitter.emit("params", {"values": {"lr": 0.1}})

    found, _ = recover(emitter.outbox.folder)

    assert found == [
        (1, None, {"open": {"name": "run"}}),
        (2, 0, {"m": 1.0}),
        (3, None, {"params": {"values": {"lr": 0.1}}}),
    ]


def test_stream_goes_on_over_many_segments(tmp_path):
    emitter = make_emitter(tmp_path)

    fill(emitter, 3000, width=1000)

    found, lost = recover(emitter.outbox.folder)
    assert len(list(emitter.outbox.folder.glob("*.seg"))) > 3
    account(found, lost, 3000)
    assert not lost


def test_every_segment_holds_the_schemas_it_uses(tmp_path):
    emitter = make_emitter(tmp_path)
    fill(emitter, 3000, width=1000)

    assert_segments_are_self_contained(emitter)


def assert_segments_are_self_contained(emitter):
    for path in emitter.outbox.folder.glob("*.seg"):
        data = memoryview(path.read_bytes())
        if not any(data[:8]):
            continue  # a spare
        base = segment.read_header(data).base - segment.HEADER_BYTES
        known = set()
        for record in segment.scan(data, emitter._session, base=base, start=segment.HEADER_BYTES):
            if isinstance(record, segment.Record) and record.kind == segment.SCHEMA:
                known.add(record.id)
            elif isinstance(record, segment.Record) and record.kind == segment.METRICS:
                assert record.id in known


def test_schema_looked_up_before_another_call_went_on_to_the_next_segment_is_written_there_too(tmp_path):
    emitter = make_emitter(tmp_path)

    class Slow(dict):  # simulates a thread that another overtakes between lookup and lock
        def values(self):
            fill(emitter, 1500, width=100)
            return super().values()

    for _ in range(20):
        emitter.emit_metrics({"slow": 1.0})
        emitter.emit_metrics(Slow(slow=2.0))

    assert_segments_are_self_contained(emitter)
    found, lost = recover(emitter.outbox.folder)
    account(found, lost, 20 * 1502)
    assert not lost


def test_marks_cut_the_stream_into_batches_of_at_most_a_mebibyte(tmp_path):
    emitter = make_emitter(tmp_path)
    for i in range(200):
        fill(emitter, 10, width=300)
        emitter.emit("text", {"name": "n", "text": "x" * (255 << 10 if i % 3 else 100)})

    place, end = emitter.segment, emitter.head
    while place is not None:
        marks = [*place.marks, end]
        end = (place.previous_end, place.marks[0][1])
        steps = [after[0] - before[0] for before, after in itertools.pairwise(marks)]
        assert all(0 < step <= segment.MAX_BATCH_BYTES for step in steps)
        assert all(after[1] >= before[1] for before, after in itertools.pairwise(marks))
        place = place.previous


def test_stream_crosses_a_lap_without_a_segment_that_does(tmp_path):
    session = os.urandom(16)
    emitter = Emitter(session)
    emitter._head = (segment.LAP_BYTES - (2 << 20), 0)
    emitter.attach(Outbox.create(tmp_path, session, UID, INFO, None))

    fill(emitter, 4000, width=300)

    found, lost = recover(emitter.outbox.folder)
    account(found, lost, 4000)
    assert not lost
    assert emitter.head[0] > segment.LAP_BYTES
    for path in emitter.outbox.folder.glob("*.seg"):
        base = segment.read_header(path.read_bytes()).base
        assert base // segment.LAP_BYTES == (base + path.stat().st_size - 1) // segment.LAP_BYTES


def test_new_names_at_every_call_keep_memory_and_schemas_bounded(tmp_path):
    emitter = make_emitter(tmp_path)
    for i in range(6000):
        emitter.emit_metrics({f"sample_{i}": float(i)})

    found, lost = recover(emitter.outbox.folder)

    assert not lost
    assert [content for _, _, content in found] == [{f"sample_{i}": float(i)} for i in range(6000)]
    assert len(emitter.schemas.records) == events.MAX_SCHEMAS
    assert len(emitter._ready) <= events.MAX_SCHEMAS


def test_schemas_stop_at_their_bytes_too(tmp_path):
    emitter = make_emitter(tmp_path)
    for i in range(100):
        emitter.emit_metrics({f"{i}_{j}_{'x' * 200}": 1.0 for j in range(300)})

    assert sum(map(len, emitter.schemas.records)) <= events.MAX_SCHEMA_BYTES
    found, lost = recover(emitter.outbox.folder)
    assert (len(found), lost) == (100, [])


def test_closed_emitter_refuses_and_changes_nothing(tmp_path):
    emitter = make_emitter(tmp_path)
    emitter.emit_metrics({"m": 1.0})
    assert emitter.end("end", {"status": "completed", "error": None})

    assert not emitter.emit_metrics({"m": 1.0})
    assert not emitter.emit("text", {"name": "n", "text": "x"})

    assert emitter.emitted == 2


def test_page_of_numbers_follows_every_call(tmp_path):
    emitter = make_emitter(tmp_path)
    for n in range(1, 50):
        emitter.emit_metrics({"m": 1.0})
        control = (emitter.outbox.folder / outbox_files.CONTROL_NAME).read_bytes()
        assert outbox_files.read_number(control, outbox_files.NUMBER_AT) == n
