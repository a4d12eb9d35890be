"""The log alone: when events are durable, and what happens if the disk fails."""

import asyncio
import errno

import pytest

from neural.tracking.collector.log import segment_files
from neural.tracking.collector.log.sessions import Position
from neural.tracking.core import os_support
from neural.tracking.formats import events, segment
from tests.unit.collector.log.logbench import SESSION, Bench, numbers, records, write


def test_done_comes_after_the_sync_and_in_order(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os_support, "sync_data", lambda fd: seen.append(len(numbers(tmp_path / "log"))))

    bench = asyncio.run(write(tmp_path / "log", [1, 2, 3]))

    assert bench.done == [1, 2, 3]
    assert 3 in seen


def test_new_segment_repeats_the_schemas_of_open_sessions(tmp_path):
    async def scenario():
        async with Bench(tmp_path / "log", segment_bytes=300) as bench:
            bench.open_session().schemas[1] = events.pack_schema(SESSION, 1, ("loss",))
            for n in range(1, 5):
                bench.append_batch(n)
                await bench.settled()

    asyncio.run(scenario())
    bodies = [record.body for record in records(tmp_path / "log", segment.SCHEMAS)]
    assert len(bodies) == len(segment_files.list_segments(tmp_path / "log")) - 1 > 0
    assert all(events.unpack_schemas(SESSION, body[16:]) == {1: ("loss",)} for body in bodies)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_without_room_it_waits_and_goes_on_in_a_new_segment(tmp_path, monkeypatch, number):
    real, refusals = os_support.sync_data, []

    def refuse_thrice(fd):
        if len(refusals) < 3:
            refusals.append(bench.log.disk_error)
            raise OSError(number, "no room")
        real(fd)

    folder = tmp_path / "log"
    bench = Bench(folder)

    async def scenario():
        async with bench:
            bench.open_session()
            await bench.settled()
            monkeypatch.setattr(os_support, "sync_data", refuse_thrice)
            for n in (1, 2):
                bench.append_batch(n)
            while len(refusals) < 2:
                await asyncio.sleep(0.001)
            assert bench.done == []
            assert errno.errorcode[number] in bench.log.disk_error
            await bench.settled()

    asyncio.run(scenario())
    assert bench.done == [1, 2]
    assert bench.log.disk_error is None
    assert numbers(folder)[-2:] == [1, 2]
    first = segment_files.list_segments(folder)[0]
    assert all(  # the segment was cut at its durable offset
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
            monkeypatch.setattr(os_support, "sync_data", fail)
            bench.append_batch(1)
            await bench.settled()

    asyncio.run(scenario())
    assert bench.done == []
    assert len(bench.failures) == 1


def test_segment_that_went_from_its_place_is_never_done_and_ends_the_collector(tmp_path):
    bench = Bench(tmp_path / "log")

    async def scenario():
        async with bench:
            bench.open_session()
            await bench.settled()
            bench.log.segments[-1].path.rename(tmp_path / "moved")
            bench.append_batch(1)
            await bench.settled()

    asyncio.run(scenario())
    assert bench.done == []
    assert len(bench.failures) == 1


@pytest.mark.parametrize("seal", [True, False])
def test_log_that_was_left_in_order_is_sealed(tmp_path, seal):
    asyncio.run(write(tmp_path / "log", [1], seal=seal))

    notes = [bytes(note.body) for note in records(tmp_path / "log", segment.NOTE)]
    assert any(b"sealed" in note for note in notes) is seal


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


def test_group_never_waits_for_company(tmp_path, monkeypatch):
    timers = []

    async def scenario():
        loop = asyncio.get_running_loop()

        def ring_at_once(when, callback, *given, context=None):
            timers.append(when)
            return loop.call_soon(callback, *given, context=context)

        async with Bench(tmp_path / "log") as bench:
            bench.open_session()
            await bench.settled()
            monkeypatch.setattr(loop, "call_at", ring_at_once)
            for n in range(1, 21):
                bench.append_batch(n)
                durable = loop.create_future()
                bench.log.after_sync(durable.set_result)
                while not (durable.done() or timers):
                    await asyncio.sleep(0)
            monkeypatch.undo()
            return list(bench.done)

    done = asyncio.run(scenario())

    assert timers == [], "the log waits a while before it writes"
    assert done == list(range(1, 21))


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
            left = segment_files.list_segments(folder)
            bench.log.delete_passed(Position(10**6, 0, bytes(16)))
            return third, left, segment_files.list_segments(folder)

    third, left, last = asyncio.run(scenario())
    assert left[0] == third
    assert len(last) == 1


def test_log_without_session_is_a_header(tmp_path):
    async def scenario():
        async with Bench(tmp_path / "log") as bench:
            return bench.log.durable

    assert asyncio.run(scenario()).offset == segment.HEADER_BYTES


def test_log_id_stays_with_the_folder(tmp_path):
    first = segment_files.log_id(tmp_path / "log")

    assert segment_files.log_id(tmp_path / "log") == first
    assert segment_files.log_id(tmp_path / "other") != first
