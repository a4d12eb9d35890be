"""A full disk or outbox: exact gaps, space for the end event, and waiting if requested."""

import os
import threading

from neural.tracking.agent.emit.emitter import Emitter
from neural.tracking.agent.emit.outbox import Outbox
from neural.tracking.formats import segment
from tests.unit.agent.made import INFO, UID, account, fill, make_emitter, recover

SMALL_LIMIT_BYTES = 4 << 20


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


def test_end_has_room_where_texts_took_all_that_metrics_left(tmp_path):
    emitter = make_emitter(tmp_path, limit_bytes=SMALL_LIMIT_BYTES)
    fill(emitter, 10_000, width=100)
    for size in (250_000, 60_000, 1000, 1):
        while emitter.emit("text", {"name": "n", "text": "x" * size}):
            pass

    emitter.end("end", {"status": "failed", "error": "x" * (64 << 10)})

    found, lost = recover(emitter.outbox.folder)
    assert "end" in found[-1][2]
    account(found, lost, emitter.emitted)


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
