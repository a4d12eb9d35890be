"""The store does not take a folder that is temporarily inaccessible for removed, or for its own."""

import errno
import os

import pytest

from neural.tracking.errors import RetryLater
from neural.tracking.formats.run_file import RUN_FILE, RunFile
from neural.tracking.reader.run import Run
from neural.tracking.state.quarantine import list_quarantined
from tests.made_runs import Emitter, Log, applied, folder_of, values


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "runs")


def unmount(log):
    """Replace base_dir by an empty folder."""
    log.state.base_dir.rename(log.state.base_dir.with_name("the disk"))
    log.state.base_dir.mkdir()


def mount(log):
    log.state.base_dir.rmdir()  # raises if anything was written into it
    log.state.base_dir.with_name("the disk").rename(log.state.base_dir)


def flip(path):
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("unsaved", [False, True])
def test_disk_that_is_not_mounted_for_a_while_removes_no_run(log, unsaved):
    emitter = Emitter().open().metrics({"loss": 1.0})
    sink = applied(log.add(emitter), flush=not unsaved)
    unmount(log)

    with pytest.raises(RetryLater, match=r"is missing|is not the same folder as before"):
        sink.flush()
    mount(log)
    applied(log.add(emitter.metrics({"loss": 2.0}).end()).bye(emitter), sink, sink.position).close()

    run = Run(folder_of(log, emitter))
    assert values(run.metric("loss")) == [1.0, 2.0]
    assert run.facts.gaps == {}
    assert list_quarantined(log.state) == []


def test_run_that_comes_new_while_the_disk_is_not_mounted_is_written_nowhere_else(log):
    sink = applied(log.add(Emitter().open()))
    emitter = Emitter(name="new").open().metrics({"loss": 1.0})
    items = log.add(emitter)
    unmount(log)
    items.state.log.mkdir(parents=True)
    for path in (log.state.base_dir.with_name("the disk") / ".ntrack" / "log").iterdir():
        (items.state.log / path.name).write_bytes(path.read_bytes())

    with pytest.raises(RetryLater):
        applied(log, sink, sink.position)

    assert [path.name for path in log.state.base_dir.iterdir()] == [".ntrack"]


def test_damaged_run_file_is_made_anew_where_the_store_s_own_files_say_whose_it_is(log):
    emitter = Emitter().open().metrics({"loss": 1.0})
    sink = applied(log.add(emitter))
    sink.close()
    flip(folder_of(log, emitter) / RUN_FILE)

    applied(log.add(emitter.metrics({"loss": 2.0})), start=sink.position).close()

    found = RunFile.load(folder_of(log, emitter))
    assert (found.uid, found.name, found.opened_ns) == (emitter.uid, "exp", emitter.info["opened_ns"])
    assert values(Run(folder_of(log, emitter)).metric("loss")) == [1.0, 2.0]


def test_folder_whose_run_file_is_damaged_and_that_is_another_run_s_is_not_taken(log):
    other = Emitter().open().metrics({"loss": 1.0})
    sink = applied(log.add(other))
    sink.close()
    flip(folder_of(log, other) / RUN_FILE)
    damaged = (folder_of(log, other) / RUN_FILE).read_bytes()
    emitter = Emitter()
    emitter.info["dir"] = other.info["dir"]

    applied(log.add(emitter.open().metrics({"loss": 2.0})), start=sink.position).close()

    assert (folder_of(log, other) / RUN_FILE).read_bytes() == damaged
    (own,) = log.state.base_dir.glob(f"exp_{emitter.uid.hex()[:8]}")
    assert values(Run(own).metric("loss")) == [2.0]
    assert values(Run(folder_of(log, other)).metric("loss")) == [1.0]


@pytest.mark.parametrize(
    "left", [b"", bytes(200), b'{\n  "format": 1,\n  "uid": "37', b'{\n  "format"' + bytes(90)]
)
def test_run_file_that_lost_its_content_with_the_power_is_made_anew(log, left):
    emitter = Emitter()
    folder = folder_of(log, emitter)
    folder.mkdir()
    (folder / RUN_FILE).write_bytes(left)

    applied(log.add(emitter.open().metrics({"loss": 1.0}))).close()

    assert RunFile.load(folder).uid == emitter.uid
    assert values(Run(folder).metric("loss")) == [1.0]
    assert list_quarantined(log.state) == []


def test_damaged_run_file_of_which_nothing_else_tells_is_not_written_over(log):
    emitter = Emitter()
    folder = folder_of(log, emitter)
    folder.mkdir()
    RunFile(b"o" * 16, "other", 1).write(folder, host="here", pid=1, durable=False)
    flip(folder / RUN_FILE)
    before = (folder / RUN_FILE).read_bytes()

    sink = applied(log.add(emitter.open().metrics({"loss": 1.0})))

    assert (folder / RUN_FILE).read_bytes() == before
    (held,) = list_quarantined(log.state)
    assert "run.json is damaged" in held.error
    sink.close()


def test_torn_run_file_beside_something_else_is_not_written_over(log):
    emitter = Emitter()
    folder = folder_of(log, emitter)
    (folder / "metrics").mkdir(parents=True)
    (folder / RUN_FILE).write_bytes(b'{\n  "format": 1,\n  "uid": "37')

    sink = applied(log.add(emitter.open().metrics({"loss": 1.0})))

    assert (folder / RUN_FILE).read_bytes() == b'{\n  "format": 1,\n  "uid": "37'
    assert len(list_quarantined(log.state)) == 1
    sink.close()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_run_file_that_cannot_be_read_just_now_is_not_written_over(log, monkeypatch, number):
    emitter = Emitter().open().metrics({"loss": 1.0})
    applied(log.add(emitter)).close()
    before = (folder_of(log, emitter) / RUN_FILE).stat().st_ino

    def refuse(path):
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patched:
        patched.setattr("neural.tracking.formats.run_file.read_regular", refuse)
        sink = applied(log.add(emitter.metrics({"loss": 2.0})))
        (held,) = list_quarantined(log.state)
        sink.close()

    assert os.strerror(number) in held.error
    assert (folder_of(log, emitter) / RUN_FILE).stat().st_ino == before
