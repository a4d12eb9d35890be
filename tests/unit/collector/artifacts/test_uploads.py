"""Space for artifacts of other hosts: started uploads finish, and others start if they fit."""

import asyncio
import hashlib

import pytest

from neural.tracking.collector.artifacts import uploads as module
from neural.tracking.collector.artifacts.uploads import Uploads
from neural.tracking.core import os_support
from neural.tracking.formats import upload_wire
from neural.tracking.formats.artifact_event import new_token
from neural.tracking.state import artifact_jobs
from neural.tracking.state.paths import State
from neural.tracking.state.spool import size_bytes

DISK_BYTES = 1000


class Door:
    """Accepts uploads onto a disk of ``DISK_BYTES``."""

    def __init__(self, folder):
        self.state = State(base_dir=folder, root=folder)
        self._uploads = Uploads(None, self.state, None, None, None, "")

    def job(self, size):
        said = {"name": "x", "token": new_token(), "how": "copy", "size": size}
        return artifact_jobs.make(bytes(16), "run_00000000", "ab" * 16, 1, 1, {"via": "me"}, said)

    def begin(self, job):
        """Return whether the upload may start, or continue."""
        try:
            self._uploads._accept_offer(job, self._uploads._path(job, ""), job.size)
        except OSError as error:
            assert "are needed" in str(error)
            return False
        return True

    def bring(self, job, size):
        data, path = bytes(size), self._uploads._path(job, "")
        there = path.stat().st_size if path.exists() else 0
        crc = upload_wire.crc(data)
        chunk = upload_wire.Chunk(session=b"", token=b"", path="", offset=there, crc=crc, data=data)
        assert self._uploads._write(job, path, chunk) == there + size

    def end(self, job):
        assert self._uploads._place(job, 0)
        job.spooled(self.state).unlink()  # it has become a version, on another disk


@pytest.fixture
def door(tmp_path, monkeypatch):
    made = Door(tmp_path)
    monkeypatch.setattr(
        os_support, "free_and_reserve", lambda folder: (DISK_BYTES - size_bytes(made.state.spool), 0)
    )
    return made


def test_two_uploads_that_fit_one_after_the_other_do_not_wait_for_each_other_half_way(door):
    first, second, small = door.job(700), door.job(600), door.job(200)
    assert door.begin(first)
    door.bring(first, 300)

    assert not door.begin(second)
    assert door.begin(small)

    door.bring(first, 400)
    door.bring(small, 200)
    assert not door.begin(second)
    door.end(first)
    assert door.begin(second)


def test_room_of_an_upload_that_was_given_up_is_another_s(door, monkeypatch):
    first, second = door.job(700), door.job(600)
    assert door.begin(first)
    assert not door.begin(second)

    now = module.time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + 1.1 * module.RESERVED_S)

    assert door.begin(second)


def test_upload_that_goes_on_after_a_cut_wants_room_for_its_rest_only(door):
    job = door.job(900)
    assert door.begin(job)
    door.bring(job, 800)

    assert door.begin(job)


class Connection:
    """A connection for answers, which records them."""

    def __init__(self):
        self.heard = []

    def send(self, parts):
        self.heard.append(upload_wire.decode(parts))
        return True


def test_check_asked_again_over_another_connection_is_answered_there_and_made_once(door, monkeypatch):
    job, gone, back, made = door.job(100), Connection(), Connection(), []
    door.begin(job)
    door.bring(job, 100)
    whole = module._is_whole
    monkeypatch.setattr(module, "_is_whole", lambda *args: made.append(args) or whole(*args))

    async def scenario():
        who = {"session": b"s" * 16, "token": b"t" * 16, "path": ""}
        check = upload_wire.Check(**who, size=100, sha256=hashlib.sha256(bytes(100)).hexdigest())
        for connection in (gone, back):
            door._uploads._begin_check(connection, job, door._uploads._path(job, ""), check)
        await asyncio.gather(*door._uploads._checks.values())

    asyncio.run(scenario())

    assert (gone.heard, len(made)) == ([], 1)
    assert [type(answer) for answer in back.heard] == [upload_wire.Whole]
