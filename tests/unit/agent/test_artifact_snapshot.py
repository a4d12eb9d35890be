"""Snapshots: which files are taken, how, and which sources are refused without a record."""

import errno
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from neural.tracking.agent import artifact_snapshot
from neural.tracking.core import os_support
from neural.tracking.errors import SourceChangedError
from neural.tracking.state.paths import State


class Session:
    """The part of a session that a snapshot needs."""

    def __init__(self, base, limit=1 << 40, mode="online"):
        self.base_dir = base
        self.state_folder = State(base_dir=base, root=base / ".ntrack")
        self.state_folder.make()
        self.spool = self.state_folder.spool
        self.id = os.urandom(16)
        self.config = type("Config", (), {"spool_limit_bytes": limit, "mode": mode, "collector": None})()
        self.run = type("Run", (), {"name": "probe"})()

    @property
    def spooled(self):
        return sorted(path for path in self.state_folder.spool.rglob("*") if path.is_file())


@pytest.fixture
def session(tmp_path):
    (tmp_path / "runs").mkdir()
    return Session(tmp_path / "runs")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(os.urandom(300_000))
    return path


def test_snapshot_holds_the_bytes_of_the_call(session, source):
    before = source.read_bytes()

    taken = artifact_snapshot.take(session, str(source), move=False)
    source.write_bytes(b"the next checkpoint")

    assert [path.read_bytes() for path in session.spooled] == [before]
    assert (taken.how, taken.size, taken.lost) in [("copy", 300_000, None), ("reflink", 300_000, None)]


def test_moved_file_is_there_until_it_is_given_away(session, source):
    before = source.read_bytes()

    taken = artifact_snapshot.take(session, str(source), move=True)
    there = source.exists()
    taken.release_source()

    assert (there, source.exists(), taken.how) == (True, False, "move")
    assert [path.read_bytes() for path in session.spooled] == [before]


def test_discarded_snapshot_leaves_nothing_and_the_source(session, source):
    artifact_snapshot.take(session, str(source), move=True).discard()

    assert session.spooled == []
    assert source.exists()


def test_folder_is_taken_with_all_its_files(session, tmp_path):
    folder = tmp_path / "weights"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a").write_bytes(b"a")
    (folder / "deep" / "er" / "b").write_bytes(b"bb")
    (folder / "link").symlink_to(folder / "a")

    taken = artifact_snapshot.take(session, str(folder), move=False)

    assert (taken.files, taken.size) == (3, 4)
    assert sorted(path.read_bytes() for path in session.spooled) == [b"a", b"a", b"bb"]


def test_file_that_says_it_is_empty_is_read_to_its_end(session):
    taken = artifact_snapshot.take(session, "/proc/self/status", move=False)

    assert taken.size > 100
    assert session.spooled[0].stat().st_size == taken.size


@pytest.mark.parametrize("change", ["written longer", "truncate", "overwrite", "replace", "delete"])
def test_source_that_changes_while_it_is_read_is_refused(session, source, monkeypatch, change):
    copy = os_support.copy_piece

    def copy_and_meddle(*args):
        copied = copy(*args)
        if copied:
            _meddle(source, change)
        return copied

    monkeypatch.setattr(os_support, "copy_piece", copy_and_meddle)
    monkeypatch.setattr(os_support, "reflink", lambda *fds: False)

    with pytest.raises(SourceChangedError, match=r"model\.pt changed while it was read"):
        artifact_snapshot.take(session, str(source), move=False)
    assert session.spooled == []


def _meddle(source, change):
    if change == "written longer":
        source.write_bytes(b"another one" * 10_000)
    elif change == "truncate":
        os.truncate(source, 5)
    elif change == "overwrite":
        with source.open("r+b") as file:
            file.write(b"x")
    elif change == "replace":
        source.with_name("other").write_bytes(b"other")
        os.rename(source.with_name("other"), source)
    else:
        source.unlink()


@pytest.mark.parametrize("in_folder", [False, True])
def test_file_that_only_grows_while_it_is_read_gives_its_beginning(session, tmp_path, monkeypatch, in_folder):
    folder = tmp_path / "logs"
    folder.mkdir()
    source = folder / "train.log"
    source.write_bytes(b"first" * 1000)
    copy = os_support.copy_piece

    def copy_while_it_grows(source_fd, target_fd, count):
        with source.open("ab") as file:
            file.write(bytes(1000))
        return copy(source_fd, target_fd, min(count, 1000))

    monkeypatch.setattr(os_support, "copy_piece", copy_while_it_grows)
    monkeypatch.setattr(os_support, "reflink", lambda *fds: False)

    taken = artifact_snapshot.take(session, str(folder if in_folder else source), move=False)

    assert taken.size == 5000
    assert [path.read_bytes() for path in session.spooled] == [b"first" * 1000]


def test_file_of_a_folder_that_is_written_again_longer_after_it_was_read_is_refused(
    session, tmp_path, monkeypatch
):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "a").write_bytes(b"a" * 100)
    (folder / "b").write_bytes(b"b" * 100)
    taken = []

    def copy_and_write_again(source_fd, target_fd, count, copy=os_support.copy_piece):
        taken.append(count)
        if len(taken) == 2:
            (folder / "a").write_bytes(b"c" * 200)
        return copy(source_fd, target_fd, count)

    monkeypatch.setattr(os_support, "copy_piece", copy_and_write_again)
    monkeypatch.setattr(os_support, "reflink", lambda *fds: False)

    with pytest.raises(SourceChangedError, match="weights/a changed"):
        artifact_snapshot.take(session, str(folder), move=False)
    assert session.spooled == []


def test_folder_that_changes_while_it_is_read_is_refused(session, tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "a").write_bytes(b"a" * 100)
    copy = os_support.copy_piece

    def copy_and_add(*args):
        (folder / "late").touch()
        return copy(*args)

    monkeypatch.setattr(os_support, "copy_piece", copy_and_add)
    monkeypatch.setattr(os_support, "reflink", lambda *fds: False)

    with pytest.raises(SourceChangedError):
        artifact_snapshot.take(session, str(folder), move=False)
    assert session.spooled == []


def make_nothing(path):
    pass


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_loop(path):
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "kind", "number"),
    [
        (make_nothing, FileNotFoundError, errno.ENOENT),
        (make_fifo, OSError, errno.EINVAL),
        (make_socket, OSError, errno.ENXIO),
        (make_loop, OSError, errno.ELOOP),
    ],
)
def test_what_is_no_file_is_the_matching_error(session, tmp_path, monkeypatch, make, kind, number):
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    make(Path("odd"))

    with pytest.raises(kind) as raised:
        artifact_snapshot.take(session, "odd", move=False)
    assert raised.value.errno == number
    assert session.spooled == []


def test_folder_without_permission_is_a_permission_error():
    program = (
        "import os, sys, pathlib; sys.path[:0] = [sys.argv[2]]\n"
        "from tests.unit.agent.test_artifact_snapshot import Session, artifact_snapshot\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "os.chdir(sys.argv[1]); os.mkdir('shut'); open('shut/a', 'w').close(); os.chmod('shut', 0)\n"
        "os.mkdir('runs'); session = Session(pathlib.Path('runs').absolute())\n"
        "try: artifact_snapshot.take(session, 'shut', move=False)\n"
        "except PermissionError: print('refused', session.spooled)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        command = [sys.executable, "-c", program, folder, str(Path(__file__).parents[3])]
        done = subprocess.run(command, capture_output=True, text=True)

    assert done.stdout == "refused []\n", done.stderr


@pytest.mark.parametrize("inside", ["fifo", "folder link", "nothing"])
def test_folder_with_what_cannot_be_kept_is_refused(session, tmp_path, inside):
    folder = tmp_path / "weights"
    folder.mkdir()
    if inside == "fifo":
        os.mkfifo(folder / "pipe")
    elif inside == "folder link":
        (folder / "up").symlink_to(tmp_path)

    with pytest.raises((OSError, ValueError)):
        artifact_snapshot.take(session, str(folder), move=False)
    assert session.spooled == []


def test_link_is_not_moved(session, source, tmp_path):
    (tmp_path / "link").symlink_to(source)

    with pytest.raises(ValueError, match="symbolic link"):
        artifact_snapshot.take(session, str(tmp_path / "link"), move=True)


def test_over_the_spool_s_limit_nothing_is_taken_and_nothing_raised(session, source, caplog):
    session.config.spool_limit_bytes = 500_000

    lost = [artifact_snapshot.take(session, str(source), move=False).lost for _ in range(3)]
    for path in session.spooled:
        path.unlink()  # as if the collector had stored it
    later = artifact_snapshot.take(session, str(source), move=False)

    assert lost == [None, "spool_full", "spool_full"]
    assert later.lost is None
    assert "spool_full" in caplog.text


def test_full_disk_is_no_error_and_leaves_nothing(session, source, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os_support, "copy_piece", full)
    monkeypatch.setattr(os_support, "reflink", lambda *fds: False)

    taken = artifact_snapshot.take(session, str(source), move=False)

    assert taken.lost == "disk_full"
    assert session.spooled == []
