"""Recovery of the log at a start: torn, damaged and sealed segments."""

import asyncio

import pytest

from neural.tracking.collector.log import segment_files
from neural.tracking.collector.log.recovery import recover
from neural.tracking.collector.log.sessions import Sessions
from neural.tracking.formats import events, segment
from neural.tracking.formats.segment import Damage
from tests.unit.collector.log.logbench import INFO, SESSION, numbers, records, write


def test_what_was_written_is_there_after_a_start(tmp_path):
    asyncio.run(write(tmp_path / "log", [1, 2], [3]))
    sessions = Sessions()

    recover(tmp_path / "log", sessions)

    assert sessions.get(SESSION).durable == 3
    assert sessions.get(SESSION).info == INFO


def test_new_segment_repeats_open_sessions_at_its_head(tmp_path):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1], [2], [3], segment_bytes=300))
    for file in segment_files.list_segments(folder)[:-1]:
        file.path.unlink()
    sessions = Sessions()

    recover(folder, sessions)

    assert len(segment_files.list_segments(folder)) == 1
    assert sessions.get(SESSION).durable == 3


def test_torn_end_is_cut_and_writing_goes_on(tmp_path):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1, 2], [3], seal=False))
    (file,) = segment_files.list_segments(folder)
    file.path.write_bytes(file.path.read_bytes()[:-10])

    asyncio.run(write(folder, [3, 4]))

    assert numbers(folder) == [1, 2, 3, 4]


@pytest.mark.parametrize("cut", range(1, 250, 7))
def test_any_torn_end_leaves_a_prefix(tmp_path, cut):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1], [2], [3], seal=False))
    (file,) = segment_files.list_segments(folder)
    file.path.write_bytes(file.path.read_bytes()[:-cut])
    sessions = Sessions()

    recovered = recover(folder, sessions)

    known = sessions.get(SESSION).durable
    assert numbers(folder) == list(range(1, known + 1))
    assert recovered.lost == []
    assert file.path.stat().st_size == recovered.end


def spoil(folder, number):
    (file,) = segment_files.list_segments(folder)
    record = next(r for r in records(folder) if events.unpack_batch(r.body).first == number)
    data = bytearray(file.path.read_bytes())
    data[record.pos + segment.FRAME_BYTES + 45] ^= 4
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
    """Pages of it may be missing. It was never acknowledged, so its senders still have it."""
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
    (file,) = segment_files.list_segments(folder)
    before = file.path.read_bytes()
    sessions = Sessions()

    recovered = recover(folder, sessions)

    assert file.path.read_bytes() == before
    assert [(lost.first, lost.last) for lost in recovered.lost] == [(2, 2)]
    assert recovered.current is None


def test_damaged_head_is_made_up_for_by_older_segments(tmp_path):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1], [2], [3], segment_bytes=300))
    newest = segment_files.list_segments(folder)[-1]
    data = bytearray(newest.path.read_bytes())
    data[70:140] = bytes(70)
    newest.path.write_bytes(data)
    sessions = Sessions()

    recover(folder, sessions)

    assert sessions.get(SESSION).durable == 3


def test_unreadable_header_is_no_reason_to_stop(tmp_path):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1], [2], [3], segment_bytes=300))
    newest = segment_files.list_segments(folder)[-1]
    newest.path.write_bytes(b"")

    bench = asyncio.run(write(folder, [3, 4]))

    assert bench.done == [3, 4]


def test_random_bytes_as_a_segment_are_only_damage(tmp_path):
    folder = tmp_path / "log"
    asyncio.run(write(folder, [1], seal=False))
    (file,) = segment_files.list_segments(folder)
    with file.path.open("ab") as out:
        out.write(bytes(range(256)) * 100)
    sessions = Sessions()

    recover(folder, sessions)

    assert sessions.get(SESSION).durable == 1
    data = memoryview(file.path.read_bytes())
    assert not [i for i in segment.scan(data, file.uuid, base=-64, start=64) if isinstance(i, Damage)]
