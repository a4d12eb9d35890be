"""The log alone: what is durable when, what a start makes of a file, what a refusing disk does."""

import asyncio
import errno
import time

import pytest

from neural.tracking import events, segment, system
from neural.tracking.collector import logfile
from neural.tracking.collector.log import Log
from neural.tracking.collector.recovery import recover
from neural.tracking.collector.sessions import Position, Session, Sessions
from neural.tracking.segment import Damage, Record

SESSION, UID = b"s" * 16, b"u" * 16
INFO = {"name": "run"}
FRAME = segment.FRAME_BYTES


class Bench:
    """A log in a folder, with what it called back."""

    def __init__(self, folder, *, segment_bytes=64 << 20):
        self.sessions = Sessions()
        self.committed = []
        self.failures = []
        self.log = Log(
            folder,
            self.sessions,
            segment_bytes=segment_bytes,
            on_recovered=lambda: None,
            on_committed=self.committed.append,
            on_failed=self.failures.append,
            retry_s=0.01,
        )
        self.done = []

    async def __aenter__(self):
        await self.log.start()
        return self

    async def __aexit__(self, *_):
        await self.log.drain(time.monotonic() + 5)

    def open_session(self, session=SESSION):
        self.sessions.add(Session(session, UID, INFO))
        self.log.append(segment.SESSION, [events.pack_session(session, UID, INFO)])
        return self.sessions.get(session)

    def append_batch(self, number, session=SESSION, size=64):
        body = events.pack_batch(session, number, number, 0, bytes(size))
        known = self.sessions.get(session)

        def done(position):
            self.done.append(number)
            known.stored(number, position)

        self.log.append(segment.BATCH, [body], done)

    async def settled(self):
        while self.log.held_bytes and not self.failures:
            await asyncio.sleep(0.001)


def records(folder, kind=segment.BATCH):
    found = []
    for file in logfile.list_segments(folder):
        data = memoryview(file.path.read_bytes())
        items = segment.scan(data, file.uuid, base=-64, start=64)
        found += [item for item in items if isinstance(item, Record) and item.kind == kind]
    return found


def numbers(folder):
    return [events.unpack_batch(record.body).first for record in records(folder)]


async def write(folder, *groups, seal=True, **more):
    """Append groups of numbers, each synced before the next; leave as a crash would unless ``seal``."""
    bench = Bench(folder, **more)
    await bench.log.start()
    bench.open_session()
    for group in groups:
        for number in group:
            bench.append_batch(number)
        await bench.settled()
    if seal:
        await bench.log.drain(time.monotonic() + 5)
    else:
        bench.log._task.cancel()
        await bench.log._close()
    return bench


def test_done_comes_after_the_sync_and_in_order(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(system, "sync_data", lambda fd: seen.append(len(numbers(tmp_path / "log"))))

    bench = asyncio.run(write(tmp_path / "log", [1, 2, 3]))

    assert bench.done == [1, 2, 3]
    assert 3 in seen


def test_what_was_written_is_there_after_a_start(tmp_path):
    asyncio.run(write(tmp_path / "log", [1, 2], [3]))
    sessions = Sessions()

    recover(tmp_path / "log", sessions)

    assert sessions.get(SESSION).durable == 3
    assert sessions.get(SESSION).info == INFO


def test_new_segment_repeats_open_sessions_at_its_head(tmp_path):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1], [2], [3], segment_bytes=300))
    for file in logfile.list_segments(folder)[:-1]:
        file.path.unlink()
    sessions = Sessions()

    recover(folder, sessions)

    assert len(logfile.list_segments(folder)) == 1
    assert sessions.get(SESSION).durable == 3


def test_new_segment_repeats_the_schemas_of_open_sessions(tmp_path):
    async def scenario():
        async with Bench(tmp_path / "log", segment_bytes=300) as bench:
            bench.open_session().schemas[1] = events.pack_schema(SESSION, 1, ("loss",))
            for n in range(1, 5):
                bench.append_batch(n)
                await bench.settled()

    asyncio.run(scenario())
    bodies = [record.body for record in records(tmp_path / "log", segment.SCHEMAS)]
    assert len(bodies) == len(logfile.list_segments(tmp_path / "log")) - 1
    assert all(events.unpack_schemas(SESSION, body[16:]) == {1: ("loss",)} for body in bodies)


def test_torn_end_is_cut_and_writing_goes_on(tmp_path):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1, 2], [3], seal=False))
    (file,) = logfile.list_segments(folder)
    file.path.write_bytes(file.path.read_bytes()[:-10])

    asyncio.run(write(folder, [3, 4]))

    assert numbers(folder) == [1, 2, 3, 4]


@pytest.mark.parametrize("cut", range(1, 250, 7))
def test_any_torn_end_leaves_a_prefix(tmp_path, cut):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1], [2], [3], seal=False))
    (file,) = logfile.list_segments(folder)
    file.path.write_bytes(file.path.read_bytes()[:-cut])
    sessions = Sessions()

    recovered = recover(folder, sessions)

    known = sessions.get(SESSION).durable
    assert numbers(folder) == list(range(1, known + 1))
    assert recovered.lost == []
    assert file.path.stat().st_size == recovered.end


def spoil(folder, number):
    (file,) = logfile.list_segments(folder)
    record = next(r for r in records(folder) if events.unpack_batch(r.body).first == number)
    data = bytearray(file.path.read_bytes())
    data[record.pos + FRAME + 45] ^= 4
    file.path.write_bytes(data)
    return record, file


def test_bad_stretch_becomes_a_hole_of_the_same_length_and_an_exact_gap(tmp_path):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1], [2], [3], seal=False))
    record, file = spoil(folder, 2)
    sessions = Sessions()

    recovered = recover(folder, sessions)

    assert numbers(folder) == [1, 3]
    assert file.path.read_bytes()[record.pos : record.end] == bytes(record.end - record.pos)
    assert [(lost.first, lost.last) for lost in recovered.lost] == [(2, 2)]
    assert sessions.get(SESSION).durable == 3


@pytest.mark.parametrize("host_went_down", [True, False])
def test_damage_just_before_the_last_group_is_a_gap_too(tmp_path, host_went_down):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1, 2], [3], seal=False))
    spoil(folder, 2)

    recovered = recover(folder, Sessions(), host_went_down=host_went_down)

    assert numbers(folder) == [1, 3]
    assert [(lost.first, lost.last) for lost in recovered.lost] == [(2, 2)]


def test_damaged_last_record_is_remembered_in_case_nobody_can_send_it_again(tmp_path):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1], [2], seal=False))
    spoil(folder, 2)
    sessions = Sessions()

    recovered = recover(folder, sessions)

    assert (sessions.get(SESSION).durable, sessions.get(SESSION).claimed) == (1, 2)
    assert recovered.lost == []


def test_first_damage_in_the_last_group_cuts_it_when_the_host_went_down(tmp_path):
    """Pages of it may be missing, and nobody was told of it: its senders have it still."""
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1], [2, 3, 4], seal=False))
    spoil(folder, 3)
    sessions = Sessions()

    recovered = recover(folder, sessions, host_went_down=True)

    assert numbers(folder) == [1, 2]
    assert recovered.lost == []
    assert sessions.get(SESSION).durable == 2


def test_sealed_segment_is_left_as_it_is(tmp_path):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1, 2, 3]))
    spoil(folder, 2)
    (file,) = logfile.list_segments(folder)
    before = file.path.read_bytes()
    sessions = Sessions()

    recovered = recover(folder, sessions)

    assert file.path.read_bytes() == before
    assert [(lost.first, lost.last) for lost in recovered.lost] == [(2, 2)]
    assert recovered.current is None


def test_damaged_head_is_made_up_for_by_older_segments(tmp_path):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1], [2], [3], segment_bytes=300))
    newest = logfile.list_segments(folder)[-1]
    data = bytearray(newest.path.read_bytes())
    data[70:140] = bytes(70)
    newest.path.write_bytes(data)
    sessions = Sessions()

    recover(folder, sessions)

    assert sessions.get(SESSION).durable == 3


def test_unreadable_header_is_no_reason_to_stop(tmp_path):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1], [2], [3], segment_bytes=300))
    newest = logfile.list_segments(folder)[-1]
    newest.path.write_bytes(b"")

    bench = asyncio.run(write(folder, [3, 4]))

    assert bench.done == [3, 4]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_without_room_it_waits_and_goes_on_in_a_new_segment(tmp_path, monkeypatch, number):
    real, refusals = system.sync_data, []

    def refuse_thrice(fd):
        if len(refusals) < 3:
            refusals.append(bench.log.trouble)
            raise OSError(number, "no room")
        real(fd)

    folder = tmp_path / "log"
    bench = Bench(folder)

    async def scenario():
        async with bench:
            bench.open_session()
            await bench.settled()
            monkeypatch.setattr(system, "sync_data", refuse_thrice)
            for n in (1, 2):
                bench.append_batch(n)
            while len(refusals) < 2:
                await asyncio.sleep(0.001)
            assert bench.done == []
            assert errno.errorcode[number] in bench.log.trouble
            await bench.settled()

    asyncio.run(scenario())
    assert bench.done == [1, 2]
    assert bench.log.trouble is None
    assert numbers(folder)[-2:] == [1, 2]
    first = logfile.list_segments(folder)[0]
    assert all(  # it was cut at its durable offset
        record.kind != segment.BATCH
        for record in segment.scan(memoryview(first.path.read_bytes()), first.uuid, base=-64, start=64)
    )


def test_failed_sync_is_never_done_and_ends_the_collector(tmp_path, monkeypatch):
    bench = Bench(tmp_path / "log")

    def fail(fd):
        raise OSError(errno.EIO, "input/output error")

    async def scenario():
        async with bench:
            bench.open_session()
            await bench.settled()
            monkeypatch.setattr(system, "sync_data", fail)
            bench.append_batch(1)
            await bench.settled()

    asyncio.run(scenario())
    assert bench.done == []
    assert len(bench.failures) == 1


def test_entry_without_a_record_waits_for_all_before_it(tmp_path):
    bench = Bench(tmp_path / "log")
    order = []

    async def scenario():
        async with bench:
            bench.open_session()
            bench.append_batch(1)
            bench.log.after_sync(lambda _: order.extend([*bench.done, "after"]))
            await bench.settled()
            bench.log.after_sync(lambda _: order.append("at once"))

    asyncio.run(scenario())
    assert order == [1, "after", "at once"]


def test_group_never_waits_for_company(tmp_path):
    async def scenario():
        async with Bench(tmp_path / "log") as bench:
            bench.open_session()
            await bench.settled()
            began = time.monotonic()
            for n in range(1, 21):
                bench.append_batch(n)
                await bench.settled()
            return (time.monotonic() - began) / 20

    assert asyncio.run(scenario()) < 0.1


def test_passed_segments_are_deleted_but_never_the_newest(tmp_path):
    folder = tmp_path / "log"

    async def scenario():
        async with Bench(folder, segment_bytes=200) as bench:
            bench.open_session()
            for n in range(1, 6):
                bench.append_batch(n)
                await bench.settled()
            third = bench.log.segments[2]
            bench.log.delete_passed(Position(third.ordinal, 0, third.uuid))
            left = logfile.list_segments(folder)
            bench.log.delete_passed(Position(10**6, 0, bytes(16)))
            return third, left, logfile.list_segments(folder)

    third, left, last = asyncio.run(scenario())
    assert left[0] == third
    assert len(last) == 1


def test_log_without_session_is_a_header(tmp_path):
    async def scenario():
        async with Bench(tmp_path / "log") as bench:
            return bench.log.durable

    assert asyncio.run(scenario()).offset == segment.HEADER_BYTES


def test_log_id_stays_with_the_folder(tmp_path):
    first = logfile.log_id(tmp_path / "log")

    assert logfile.log_id(tmp_path / "log") == first
    assert logfile.log_id(tmp_path / "other") != first


def test_random_bytes_as_a_segment_are_only_damage(tmp_path):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1], seal=False))
    (file,) = logfile.list_segments(folder)
    with file.path.open("ab") as out:
        out.write(bytes(range(256)) * 100)
    sessions = Sessions()

    recover(folder, sessions)

    assert sessions.get(SESSION).durable == 1
    data = memoryview(file.path.read_bytes())
    assert not [i for i in segment.scan(data, file.uuid, base=-64, start=64) if isinstance(i, Damage)]
