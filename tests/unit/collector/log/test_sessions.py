"""Marks, windows and barriers."""

from neural.tracking.collector.ingest.barriers import MAX_WAITING, Barriers
from neural.tracking.collector.ingest.router import Peer
from neural.tracking.collector.log.sessions import MAX_OPEN_SESSIONS, Position, Sessions, SessionState

SEGMENT = b"l" * 16


def at(offset):
    return Position(1, offset, SEGMENT)


def session(number=1, **more):
    return SessionState(bytes([number]) * 16, b"u" * 16, {}, **more)


def connected(count):
    sessions = Sessions()
    for number in range(count):
        sessions.add(SessionState(number.to_bytes(16, "little"), b"u" * 16, {}, peer=Peer(None, b"i", "")))
    return sessions


def test_window_is_8_mib_for_few_and_shared_by_many():
    assert connected(0).window() == connected(8).window() == 8 << 20
    assert connected(64).window() == 1 << 20
    assert connected(MAX_OPEN_SESSIONS).window() == 64 << 10


def test_number_maps_to_the_end_of_its_batch():
    known = session()
    known.mark_durable(10, at(100))
    known.mark_durable(20, at(200))

    assert [known.position_of(n) for n in (1, 10, 11, 20)] == [at(100), at(100), at(200), at(200)]


def test_number_maps_to_the_end_once_it_was_applied():
    known = session()
    known.mark_durable(10, at(100))
    known.forget_applied(at(100))

    assert known.position_of(3) == at(100)


def test_very_many_batches_keep_memory_flat_and_never_map_too_early():
    known = session()
    for n in range(1, 50_001):
        known.mark_durable(n, at(n * 8))

    assert len(known.recent) <= 5000
    assert all(known.position_of(n) >= at(n * 8) for n in range(1, 50_001, 97))


def test_ended_session_is_forgotten_only_when_every_cursor_passed_it():
    sessions = Sessions()
    ended = session(ended=3, end=at(100))
    sessions.add(ended)
    sessions.add(session(2, end=at(50)))

    sessions.forget_passed(at(99))
    assert sessions.get(ended.id) is ended
    sessions.forget_passed(at(100))
    assert sessions.get(ended.id) is None
    assert len(sessions) == 1


def test_barrier_waits_for_durable_then_for_applied():
    barriers, known, seen = Barriers(), session(), []
    barriers.add(known, 5, lambda: seen.append("visible"))
    barriers.on_applied(at(1000))
    assert seen == []

    known.mark_durable(5, at(2000))
    barriers.on_durable(known)
    assert seen == []

    barriers.on_applied(at(2000))
    assert seen == ["visible"]


def test_barrier_for_what_is_applied_answers_at_once():
    barriers, known, seen = Barriers(), session(), []
    known.mark_durable(5, at(100))
    barriers.on_applied(at(100))

    barriers.add(known, 4, lambda: seen.append("visible"))

    assert seen == ["visible"]


def test_barrier_for_nothing_answers_at_once():
    seen = []

    Barriers().add(session(), 0, lambda: seen.append("visible"))

    assert seen == ["visible"]


def test_oldest_of_too_many_barriers_is_forgotten():
    barriers, known, seen = Barriers(), session(), []
    for n in range(MAX_WAITING + 1):
        barriers.add(known, 1, lambda n=n: seen.append(n))

    known.mark_durable(1, at(100))
    barriers.on_durable(known)
    barriers.on_applied(at(100))

    assert seen == list(range(1, MAX_WAITING + 1))
