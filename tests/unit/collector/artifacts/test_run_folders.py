"""Which run folders count as removed, and which as temporarily not usable."""

import os
import shutil
import time
from types import SimpleNamespace

import pytest

from neural.tracking.collector.artifacts import run_folders
from neural.tracking.collector.artifacts.commit import BytesLost
from neural.tracking.collector.artifacts.run_folders import RunFolders, Unusable
from neural.tracking.errors import RetryLater
from neural.tracking.formats.artifact_event import new_token
from neural.tracking.formats.run_file import RUN_FILE, RunFile
from neural.tracking.state import artifact_jobs
from neural.tracking.state.paths import State

UID, OTHER = b"u" * 16, b"o" * 16


class Place:
    """A base_dir with one run, a state folder inside it or elsewhere, and a collector's ``RunFolders``."""

    def __init__(self, folder, *, apart=False):
        self.base = folder / "runs"
        self.state = State(self.base, folder / "state" if apart else self.base / ".ntrack")
        self.run = self.base / "run_1"
        for path in (self.state.root, self.base / ".ntrack", self.run):
            path.mkdir(parents=True, exist_ok=True)
        RunFile(UID, "run", 1).write(self.run, host="here", pid=1, durable=False)
        self.restart()

    def restart(self):
        self.folders = RunFolders(self.state)
        self.folders.base_dir.learn(record=True)

    def job(self, uid=UID, folder="run_1"):
        said = {"name": "model", "token": new_token(), "how": "copy", "size": 1}
        return artifact_jobs.make(uid, folder, "cd" * 16, 1, 1, {}, said)

    def find(self, uid=UID, folder="run_1"):
        return self.folders.find(self.job(uid, folder))

    def unmount(self):
        """Replace base_dir by an empty folder."""
        self.base.rename(self.base.with_name("the disk"))
        self.base.mkdir()

    def mount(self):
        shutil.rmtree(self.base)
        self.base.with_name("the disk").rename(self.base)


@pytest.fixture(params=[False, True], ids=["state in base_dir", "state apart"])
def place(request, tmp_path):
    return Place(tmp_path, apart=request.param)


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock of the pauses by one that only the test advances."""
    moved = SimpleNamespace(now_s=1000.0, time_ns=time.time_ns)
    moved.monotonic = lambda: moved.now_s
    monkeypatch.setattr(run_folders, "time", moved)
    return moved


def test_folder_that_is_there_is_found(place):
    assert place.find() == place.run.resolve()


def test_folder_that_is_not_there_was_removed(place):
    shutil.rmtree(place.run)

    with pytest.raises(BytesLost, match="removed"):
        place.find()


def flipped(run):
    path = run / RUN_FILE
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)


def emptied(run):
    (run / RUN_FILE).unlink()


def another_s(run):
    RunFile(OTHER, "run", 1).write(run, host="here", pid=1, durable=False)


def a_file(run):
    shutil.rmtree(run)
    run.write_text("in its place")


def a_link_to_itself(run):
    shutil.rmtree(run)
    run.symlink_to(run)


def a_link_away(run):
    run.rename(run.parent.with_name("elsewhere"))
    run.symlink_to(run.parent.with_name("elsewhere"))


@pytest.mark.parametrize("harm", [flipped, emptied, another_s, a_file, a_link_to_itself, a_link_away])
def test_folder_that_cannot_be_used_is_waited_for_and_told_with_its_reason(place, harm):
    harm(place.run)

    with pytest.raises(Unusable) as raised:
        place.find()
    (told,) = place.folders.status()
    assert (told["run"], told["error"]) == ("run_1", str(raised.value))
    assert place.folders.is_held(UID)
    assert not place.folders.is_held(OTHER)


def test_folder_that_may_not_be_read_is_waited_for(place, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("neural.tracking.formats.run_file.read_regular", refuse)

    with pytest.raises(Unusable, match="Permission denied"):
        place.find()


def test_damaged_run_file_is_told_with_what_mends_it(place):
    flipped(place.run)

    with pytest.raises(Unusable, match=r"run_1/run.json is damaged.*ntrack runs rebuild run_1"):
        place.find()


def test_run_that_can_be_used_again_is_held_no_longer(place):
    whole = (place.run / RUN_FILE).read_bytes()
    flipped(place.run)
    with pytest.raises(Unusable):
        place.find()

    (place.run / RUN_FILE).write_bytes(whole)

    assert place.find() == place.run.resolve()
    assert place.folders.status() == []
    assert not place.folders.any_held()


def test_several_jobs_that_meet_the_same_make_the_pause_no_longer(place, clock):
    flipped(place.run)

    for _ in range(9):
        with pytest.raises(Unusable):
            place.find()

    assert place.folders.is_held(UID)
    clock.now_s += 1.0
    assert not place.folders.is_held(UID)


def test_pause_doubles_with_each_try_up_to_a_minute(place, clock):
    flipped(place.run)
    pauses = []

    for _ in range(8):
        with pytest.raises(Unusable):
            place.find()
        began_s = clock.now_s
        while place.folders.is_held(UID):
            clock.now_s += 1.0
        pauses.append(clock.now_s - began_s)

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_trouble_of_a_run_is_forgotten_with_its_last_job(place):
    flipped(place.run)
    with pytest.raises(Unusable):
        place.find()

    place.folders.keep_only([place.job(), place.job(OTHER)])
    assert place.folders.any_held()

    place.folders.keep_only([place.job(OTHER)])
    assert not place.folders.any_held()
    assert place.folders.status() == []


def test_disk_that_is_not_mounted_removes_no_run(place):
    place.unmount()

    with pytest.raises(Unusable, match=r"mounted|not there"):
        place.find()
    place.mount()
    assert place.find() == place.run.resolve()


def test_state_folder_that_is_another_removes_no_run(place):
    shutil.rmtree(place.run)
    place.state.root.rename(place.state.root.with_name("the state"))  # not removed, as below
    place.state.root.mkdir()

    with pytest.raises(Unusable, match="is not the same folder as before"):
        place.find()


def test_collector_that_starts_while_the_disk_is_not_mounted_takes_no_run_for_removed(tmp_path):
    place = Place(tmp_path, apart=True)
    place.unmount()
    (place.base / ".ntrack").mkdir()  # as every collector creates it

    place.restart()

    with pytest.raises(Unusable, match="is its disk mounted"):
        place.find()
    place.mount()
    assert place.find() == place.run.resolve()
    shutil.rmtree(place.run)
    with pytest.raises(BytesLost):
        place.find()


def test_base_dir_that_came_to_a_new_disk_is_known_by_its_old_runs(tmp_path):
    place = Place(tmp_path, apart=True)
    shutil.copytree(place.base, tmp_path / "copy")
    place.unmount()
    place.base.rmdir()
    (tmp_path / "copy").rename(place.base)
    with pytest.raises(Unusable, match="is not the same folder as before"):
        place.find(folder="gone_1", uid=OTHER)
    place.find()

    with pytest.raises(BytesLost):
        place.find(folder="gone_1", uid=OTHER)


def test_run_that_was_opened_where_the_disk_belongs_proves_nothing(tmp_path):
    place = Place(tmp_path, apart=True)
    place.unmount()
    new = place.base / "new_1"
    new.mkdir()
    RunFile(OTHER, "new", time.time_ns()).write(new, host="here", pid=1, durable=False)
    with pytest.raises(Unusable):
        place.find()

    assert place.find(folder="new_1", uid=OTHER) == new.resolve()

    with pytest.raises(Unusable, match="is its disk mounted"):
        place.find()


def test_base_dir_that_was_made_anew_has_what_is_in_it_and_how_to_go_on_is_told(tmp_path):
    place = Place(tmp_path, apart=True)
    place.unmount()  # not removed: a new folder might get the same number
    (place.base / "new_1").mkdir()
    home = place.folders.base_dir

    assert home.lacks("new_1") is False
    with pytest.raises(RetryLater, match=f"remove {place.state.root}/base-dir"):
        home.lacks("gone_1")


def test_what_is_looked_at_while_the_disk_comes_and_goes_is_one_folder(place, monkeypatch):
    shutil.rmtree(place.run)
    lstat = os.lstat

    def mounted_meanwhile(name, *, dir_fd=None):
        try:
            return lstat(name, dir_fd=dir_fd)
        finally:
            if name == "run_1":
                place.mount()

    place.unmount()
    monkeypatch.setattr(os, "lstat", mounted_meanwhile)

    with pytest.raises(RetryLater):
        place.folders.base_dir.lacks("run_1")
