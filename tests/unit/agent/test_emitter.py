"""Numbers, segments, schemas, gaps: what is emitted is what recovery finds."""

import itertools
import os
import threading

import pytest

from neural.tracking import events, outbox_files, segment
from neural.tracking.agent import emitter as emitter_module
from neural.tracking.agent import writer
from neural.tracking.agent.emitter import Emitter
from neural.tracking.agent.outbox import Outbox
from tests.unit.agent.made import INFO, UID, account, make_emitter, recover

SMALL_LIMIT_BYTES = 4 << 20


def fill(emitter, count, width=3):
    metrics = {f"m{i}": float(i) for i in range(width)}
    return [emitter.emit_metrics(metrics, step) for step in range(count)]


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

    class Slow(dict):  # stands in for a thread that is overtaken between lookup and lock
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


def test_full_outbox_drops_counts_and_says_so_exactly(tmp_path):
    emitter = make_emitter(tmp_path, limit_bytes=SMALL_LIMIT_BYTES)

    kept = fill(emitter, 10_000, width=100)

    assert not kept[-1]
    assert emitter.emitted == 10_000
    found, lost = recover(emitter.outbox.folder)
    account(found, lost, 10_000)
    assert len(found) == sum(kept)
    assert [reason for _, _, reason in lost] == ["outbox_full"]


def test_lifecycle_events_have_room_in_a_full_outbox(tmp_path):
    emitter = make_emitter(tmp_path, limit_bytes=SMALL_LIMIT_BYTES)
    fill(emitter, 10_000, width=100)

    assert emitter.emit("end", {"status": "completed", "error": None})
    assert fill(emitter, 1, width=100) == [False]

    found, lost = recover(emitter.outbox.folder)
    assert "end" in found[-1][2]
    account(found, lost, 10_002)


def test_gap_is_closed_once_there_is_room_again(tmp_path):
    emitter = make_emitter(tmp_path, limit_bytes=SMALL_LIMIT_BYTES)
    kept = fill(emitter, 10_000, width=100)
    dropped_from = kept.index(False) + 1
    first = emitter.segment
    while first.previous is not None:
        first = first.previous
    before = segment.read_header(first.map).base

    following = emitter.segment
    while following.previous is not first:
        following = following.previous
    emitter.outbox.give_back(first)
    following.previous = None
    assert emitter.emit_metrics({"m": 1.0})

    found, lost = recover(emitter.outbox.folder, after=following.marks[0][1])
    assert before == 0
    assert (dropped_from, 10_000, "outbox_full") in lost
    assert emitter.gaps == [(dropped_from, 10_000, "outbox_full")]
    assert found[-1][0] == 10_001


def test_blocking_waits_for_room_and_keeps_everything(tmp_path):
    emitter = make_emitter(tmp_path, limit_bytes=SMALL_LIMIT_BYTES, when_full="block", block_timeout_s=20.0)
    done = threading.Event()
    thread = threading.Thread(target=lambda: (fill(emitter, 6000, width=100), done.set()))
    thread.start()
    freed = emitter.segment
    while not done.wait(0.01):
        newest = emitter.segment
        place = newest
        while place is not None and place.previous is not freed and place is not freed:
            place = place.previous
        if place is not None and place is not freed:
            emitter.outbox.give_back(freed)
            place.previous = None
            freed = place
    thread.join()

    assert emitter.gaps == []
    assert emitter.emitted == 6000


def test_blocking_gives_up_after_its_timeout(tmp_path):
    emitter = make_emitter(tmp_path, limit_bytes=SMALL_LIMIT_BYTES, when_full="block", block_timeout_s=0.05)
    metrics = {f"m{i}": 1.0 for i in range(5000)}

    while emitter.emit_metrics(metrics):
        pass

    assert emitter.gaps[0][2] == "outbox_full"


def test_without_an_outbox_events_are_counted_and_the_gap_is_told_later(tmp_path):
    session = os.urandom(16)
    emitter = Emitter(session)
    assert not emitter.emit_metrics({"m": 1.0})
    assert not emitter.emit("text", {"name": "n", "text": "x"})

    emitter.attach(Outbox.create(tmp_path, session, UID, INFO, None))
    assert emitter.emit_metrics({"m": 2.0})

    found, lost = recover(emitter.outbox.folder)
    assert found == [(3, 1, {"m": 2.0})]
    assert [(first, last) for first, last, _ in lost] == [(1, 2)]


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


def test_eight_threads_lose_and_double_nothing(tmp_path):
    emitter = make_emitter(tmp_path)

    def work(thread):
        for i in range(2000):
            emitter.emit_metrics({"thread": float(thread), "i": float(i)} if i % 7 else {f"own_{thread}": i})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found, lost = recover(emitter.outbox.folder)
    account(found, lost, 16_000)
    assert not lost
    per_thread = [[c["i"] for _, _, c in found if c.get("thread") == n] for n in range(8)]
    assert all(order == sorted(order) and len(order) == 1714 for order in per_thread)


def test_threads_that_roll_segments_under_each_other_lose_nothing(tmp_path):
    emitter = make_emitter(tmp_path)

    def work(width):
        fill(emitter, 1500, width=width)

    threads = [threading.Thread(target=work, args=(n,)) for n in (997, 998, 999, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found, lost = recover(emitter.outbox.folder)
    account(found, lost, 6000)
    assert not lost


@pytest.mark.parametrize("at", range(1, 40))
def test_exception_at_any_call_of_the_careful_path_costs_at_most_that_event(tmp_path, at, monkeypatch):
    """Stands in for a signal: an exception out of the n-th call made below ``_write``."""
    emitter = make_emitter(tmp_path)
    fill(emitter, 5, width=2)
    raised = interrupt_nth_call(monkeypatch, emitter, at)

    accepted = 5
    for i in range(10):
        try:
            accepted += emitter.emit_metrics({f"new_{i}": 1.0})
        except KeyboardInterrupt:
            pass

    found, lost = recover(emitter.outbox.folder)
    assert raised or at > 20
    assert not lost
    assert [seq for seq, _, _ in found] == list(range(1, len(found) + 1))
    assert accepted <= len(found) <= accepted + len(raised)


def interrupt_nth_call(monkeypatch, emitter, at):
    calls, raised = itertools.count(1), []

    def tripwire(function):
        def call(*arguments, **named):
            number = next(calls)
            if number == at:
                raised.append("before")
                raise KeyboardInterrupt
            result = function(*arguments, **named)
            if number == at + 1 and not raised:
                raised.append("after")
                raise KeyboardInterrupt
            return result

        return call

    for name in ("_secure", "_open", "_install", "_store", "_put_metrics"):
        monkeypatch.setattr(emitter, name, tripwire(getattr(emitter, name)))
    monkeypatch.setattr(writer, "Packer", tripwire(writer.Packer))
    return raised


def test_event_emitted_while_another_is_packed_is_written_after_it(tmp_path, monkeypatch):
    emitter = make_emitter(tmp_path)
    emitter.emit_metrics({"outer": 1.0})
    inside = iter([True])

    def interrupted(*arguments):
        if next(inside, False):
            assert emitter.emit_metrics({"inner": 2.0})
            assert emitter.emit("text", {"name": "n", "text": "also"})
        return 0

    class Packing:  # stands in for a signal between two bytecodes of the hot path
        def __call__(self):
            interrupted()
            return 7

    monkeypatch.setattr(emitter_module, "_time_ns", Packing())
    emitter.emit_metrics({"outer": 3.0})

    found, lost = recover(emitter.outbox.folder)
    assert not lost
    assert [next(iter(content)) for _, _, content in found] == ["outer", "outer", "inner", "text"]


def test_event_of_known_names_emitted_while_another_is_packed_is_kept_too(tmp_path, monkeypatch):
    emitter = make_emitter(tmp_path)
    emitter.emit_metrics({"m": 0.0})
    nested = iter([False, True])
    times = itertools.count()

    def time_ns():  # stands in for a signal between two bytecodes of the hot path
        if next(nested, False):
            assert emitter.emit_metrics({"m": 2.0})
        return next(times)

    monkeypatch.setattr(emitter_module, "_time_ns", time_ns)
    emitter.emit_metrics({"m": 1.0})
    emitter.emit_metrics({"m": 1.5})

    found, lost = recover(emitter.outbox.folder)
    assert not lost
    assert [content["m"] for _, _, content in found] == [0.0, 1.0, 1.5, 2.0]


def test_del_that_logs_under_the_lock_does_not_deadlock(tmp_path):
    emitter = make_emitter(tmp_path)

    class LogsAtDeath:
        def __del__(self):
            emitter.emit_metrics({"died": 1.0})

    class Number:
        def __init__(self):
            self.self = self
            self.tail = LogsAtDeath()

        def __float__(self):
            return 1.0

    for _ in range(3000):
        emitter.emit_metrics({"m": Number(), "n": 1.0})
    import gc

    gc.collect()

    found, lost = recover(emitter.outbox.folder)
    account(found, lost, emitter.emitted)
    assert sum("died" in content for _, _, content in found) == 3000
