"""Which folder a run gets, and which processes may join it."""

import errno
import json
import time

import pytest

from neural.tracking.agent import RunIdentity
from neural.tracking.api import run_folder
from neural.tracking.api.run_folder import open_run_folder
from neural.tracking.errors import ConfigError, RunConflictError
from neural.tracking.formats.run_file import RunFile, resolve_base_dir


def identity(key="random", uid=b"u" * 16, **more):
    told = {"name": "run", "rank": 0, "world_size": 1, "attempt": 1, "role": "opener"}
    return RunIdentity(uid=uid, key=key, **{**told, **more})


def made_by_another(base, of):
    """Create a folder of another run with a similar uid at the path of ``of``'s folder."""
    other = identity(uid=of.uid[:4] + b"x" * 12)
    return open_run_folder(base, other)[0]


def told_by_views(folder, status, attempts):
    (folder / "metadata.json").write_text(json.dumps({"status": status, "attempts": attempts}))


def test_folder_says_who_the_run_is_and_holds_nothing_else(tmp_path):
    folder, _ = open_run_folder(tmp_path / "runs", identity())

    assert [path.name for path in folder.iterdir()] == ["run.json"]
    assert RunFile.read(folder).uid == b"u" * 16
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [folder.name]


def test_second_rank_joins_the_first_one_s_folder(tmp_path):
    first, _ = open_run_folder(tmp_path, identity("NTRACK_RUN_ID"))

    second, joined = open_run_folder(tmp_path, identity("NTRACK_RUN_ID", rank=1, role="rank"))

    assert second == first
    assert (joined.attempt, joined.role) == (1, "rank")


def test_job_that_comes_again_after_its_end_is_the_next_attempt(tmp_path):
    folder, _ = open_run_folder(tmp_path, identity("NTRACK_RUN_ID"))
    told_by_views(folder, "failed", 2)

    _, joined = open_run_folder(tmp_path, identity("NTRACK_RUN_ID"))

    assert (joined.attempt, joined.role) == (3, "join")


def test_rank_of_a_running_attempt_joins_that_attempt(tmp_path):
    folder, _ = open_run_folder(tmp_path, identity("NTRACK_RUN_ID"))
    told_by_views(folder, "running", 2)

    _, joined = open_run_folder(tmp_path, identity("NTRACK_RUN_ID", rank=1, role="rank"))

    assert joined.attempt == 2


def test_random_uid_that_is_taken_is_drawn_again(tmp_path):
    wanted = identity()
    taken = made_by_another(tmp_path, wanted)

    folder, got = open_run_folder(tmp_path, wanted)

    assert folder != taken
    assert RunFile.read(folder).uid == got.uid != wanted.uid


def test_derived_uid_that_meets_another_run_raises(tmp_path):
    wanted = identity("NTRACK_RUN_ID")
    made_by_another(tmp_path, wanted)

    with pytest.raises(RunConflictError, match="NTRACK_RUN_ID"):
        open_run_folder(tmp_path, wanted)


@pytest.mark.parametrize("left", [b"", bytes(60), b'{\n  "format": 1,\n  "uid": "7575'])
def test_job_that_comes_again_after_a_power_loss_tore_its_run_file_gets_its_folder(tmp_path, left):
    wanted = identity("NTRACK_RUN_ID")
    folder, _ = open_run_folder(tmp_path, wanted)
    (folder / "run.json").write_bytes(left)

    again, got = open_run_folder(tmp_path, wanted)

    assert (again, got) == (folder, wanted)
    assert RunFile.load(folder).uid == wanted.uid


@pytest.mark.parametrize("beside", ["metrics", "ledger-00000000.json"])
def test_torn_run_file_beside_something_else_is_a_conflict(tmp_path, beside):
    wanted = identity("NTRACK_RUN_ID")
    folder, _ = open_run_folder(tmp_path, wanted)
    (folder / "run.json").write_bytes(b"{")
    (folder / beside).mkdir()

    with pytest.raises(RunConflictError):
        open_run_folder(tmp_path, wanted)
    assert (folder / "run.json").read_bytes() == b"{"


def test_siblings_step_on_to_the_same_next_run_once_one_has_ended(tmp_path):
    ended, _ = open_run_folder(tmp_path, identity("parent"))
    told_by_views(ended, "completed", 1)

    first, _ = open_run_folder(tmp_path, identity("parent"))
    second, _ = open_run_folder(tmp_path, identity("parent", rank=1))

    assert first == second != ended


def test_siblings_that_started_long_after_do_not_join(tmp_path, monkeypatch):
    early, _ = open_run_folder(tmp_path, identity("parent"))
    now = time.time_ns()
    monkeypatch.setattr(run_folder.time, "time_ns", lambda: now + 61 * 10**9)

    late, _ = open_run_folder(tmp_path, identity("parent"))

    assert late != early


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_warns_and_goes_on(tmp_path, monkeypatch, number):
    def refuse(*arguments, **more):
        raise OSError(number, "no room")

    monkeypatch.setattr(RunFile, "write", refuse)

    with pytest.warns(RuntimeWarning, match="no space left"):
        folder, got = open_run_folder(tmp_path, identity())

    assert folder.name == f"run_{got.experiment_id}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_folder_that_refuses_raises(tmp_path, monkeypatch, number):
    def refuse(*arguments, **more):
        raise OSError(number, "refused")

    monkeypatch.setattr(RunFile, "write", refuse)

    with pytest.raises(OSError, match="refused"):
        open_run_folder(tmp_path, identity())


def test_base_dir_that_no_socket_address_can_hold_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="not UTF-8"):
        resolve_base_dir(str(tmp_path / "runs\udcff"))
