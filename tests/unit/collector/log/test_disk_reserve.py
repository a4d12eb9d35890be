"""The space that the log leaves to run folders on a nearly full disk."""

import asyncio
import os

import pytest

from neural.tracking.collector.log import disk_reserve
from neural.tracking.core import os_support
from tests.unit.collector.log.logbench import Bench, numbers

MIB = 1 << 20


def disk(monkeypatch, *, free, total):
    """Simulate a disk of that size, because a real mount would need a namespace."""
    found = os.statvfs_result((4096, 4096, total // 4096, free // 4096, free // 4096, 9, 9, 9, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: found)


def test_a_little_room_is_enough_while_the_store_keeps_up(tmp_path, monkeypatch):
    disk(monkeypatch, free=2 * MIB, total=1000 * MIB)

    disk_reserve.check_room(tmp_path, tmp_path, 100_000)


def test_the_store_gets_the_last_room_once_it_is_behind(tmp_path, monkeypatch):
    disk(monkeypatch, free=40 * MIB, total=1000 * MIB)

    with pytest.raises(OSError, match="left to the run folders"):
        disk_reserve.check_room(tmp_path, tmp_path, 40 * MIB)


def test_five_percent_are_enough_however_far_it_is_behind(tmp_path, monkeypatch):
    disk(monkeypatch, free=51 * MIB, total=1000 * MIB)

    disk_reserve.check_room(tmp_path, tmp_path, 40_000 * MIB)


def test_a_file_system_that_does_not_tell_its_size_is_used_all_the_same(tmp_path, monkeypatch):
    disk(monkeypatch, free=0, total=0)

    disk_reserve.check_room(tmp_path, tmp_path, MIB)
    assert disk_reserve.segment_bytes(tmp_path, 64 * MIB) == 64 * MIB


def test_segments_are_small_on_a_small_disk(tmp_path, monkeypatch):
    disk(monkeypatch, free=100 * MIB, total=400 * MIB)

    assert disk_reserve.segment_bytes(tmp_path, 64 * MIB) == 5 * MIB
    assert os_support.free_and_reserve(tmp_path) == (100 * MIB, 20 * MIB)


def test_log_told_to_leave_room_goes_on_when_something_was_freed(tmp_path):
    refusals = [OSError(28, "kept")]

    def check_room(more_bytes):
        if refusals:
            raise refusals[0]

    async def scenario():
        async with Bench(tmp_path / "log") as bench:
            bench.log._check_room, bench.log._retry_s = check_room, 3600.0
            bench.open_session()
            bench.append_batch(1)
            while not bench.log.disk_error:
                await asyncio.sleep(0.001)
            assert bench.done == []
            refusals.clear()
            bench.log.retry_now()
            await bench.settled()
        return bench

    bench = asyncio.run(scenario())

    assert bench.done == numbers(tmp_path / "log") == [1]
