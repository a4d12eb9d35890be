"""Each problem that doctor checks, made for real or as close to it as possible."""

import json
import os
import socket
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from neural.tracking.doctor import checks
from neural.tracking.doctor.checks import examine, worst
from neural.tracking.doctor.finding import NOTE, OK, PROBLEM
from neural.tracking.state.paths import State


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "runs"
    State.for_base_dir(folder).make()
    return folder


def finding(base, subject):
    found = [item for item in examine(base) if item.subject == subject]
    assert len(found) == 1, found
    return found[0]


def test_everything_is_well_in_a_fresh_folder(base):
    assert worst(list(examine(base))) == OK


def test_looking_makes_no_file(tmp_path):
    list(examine(tmp_path / "nowhere"))

    assert list(tmp_path.iterdir()) == []


def test_base_dir_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")

    assert checks._folder(tmp_path / "file").level == PROBLEM


def test_relative_base_dir_that_exists_is_told_so(base, monkeypatch):
    monkeypatch.chdir(base.parent)

    assert checks._folder(Path(base.name)).seen == "runs is writable"
    assert "will be created" in checks._folder(Path("nowhere")).seen


def test_base_dir_that_is_a_device_is_one_trouble_and_no_errno():
    found = list(examine(Path("/dev/null")))

    assert [item.subject for item in found if item.level == PROBLEM] == ["base_dir"]
    assert not any("Errno" in item.seen for item in found)


def test_settings_file_that_nobody_can_read_is_told_once(base):
    (base / ".ntrack" / "config.toml").write_text("[agent")

    assert [item.subject for item in examine(base) if item.level == PROBLEM] == ["settings"]


@pytest.mark.parametrize(("free_mib", "level"), [(2, PROBLEM), (20, OK)])
def test_small_disk_on_which_no_outbox_has_room(base, monkeypatch, free_mib, level):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(24 << 20, 0, free_mib << 20))

    found = finding(base, "disk space")

    assert (found.level, f"{free_mib}.0 MiB free of 24.0" in found.seen) == (level, True)


@pytest.mark.parametrize("section", ["agent", "collector"])
def test_settings_with_which_nothing_would_start(base, section):
    (base / ".ntrack" / "config.toml").write_text(f"[{section}]\nno_such_thing = 1\n")

    found = finding(base, "settings")

    assert found.level == PROBLEM
    assert "no_such_thing" in found.seen


def test_little_space(base, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(100 << 30, 0, 1 << 29))

    found = finding(base, "disk space")

    assert found.level == PROBLEM
    assert "0.5 GiB free" in found.seen
    assert "ntrack runs rm" in found.advice


def test_few_inodes(base, monkeypatch):
    statvfs = os.statvfs

    class Few:
        f_files, f_favail = 1000, 7

        def __init__(self, path):
            self.real = statvfs(path)

        def __getattr__(self, name):
            return getattr(self.real, name)

    monkeypatch.setattr("os.statvfs", Few)

    assert "only 7 free inodes" in finding(base, "inodes").seen


def test_network_file_system(base, monkeypatch):
    monkeypatch.setenv("NTRACK_FS", "network")

    found = finding(base, "file system")

    assert found.level == NOTE
    assert "/var/tmp/ntrack-" in found.seen


def test_state_folder_open_to_others(base):
    (base / ".ntrack").chmod(0o755)

    found = finding(base, "state folder")

    assert found.level == PROBLEM
    assert "chmod 700" in found.advice


def test_state_folder_that_is_a_link(base, tmp_path):
    (base / ".ntrack").rmdir()
    (base / ".ntrack").symlink_to(tmp_path)

    assert finding(base, "state folder").level == PROBLEM


def test_lock_and_socket_of_one_that_died(base):
    state = State.for_base_dir(base)
    state.lock.write_text(json.dumps({"pid": 4711, "host": "here"}))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(state.control_socket))

    found = finding(base, "collector")

    assert found.level == NOTE
    assert "pid 4711 on here died" in found.seen


def test_long_path_puts_sockets_elsewhere(tmp_path):
    base = tmp_path / ("x" * 120)

    assert finding(base, "sockets").level == NOTE


def test_another_version_of_the_collector():
    found = checks._version({"version": "9.9.9"})

    assert found.level == PROBLEM
    assert "ntrack collector stop" in found.advice


def test_disk_that_refuses_and_worker_that_restarts():
    answer = {
        "disk": {"state": "full", "error": "ENOSPC"},
        "workers": [{"name": "store", "restarts": 3, "last_error": "killed"}],
    }

    seen = [found.seen for found in checks._collector_problems(answer)]

    assert "ENOSPC" in seen[0]
    assert "store restarted 3 times: killed" in seen[1]


def test_errors_in_the_daemon_s_log(base):
    State.for_base_dir(base).daemon_log.write_text("a\n2026-01-01 ERROR store failed\n")

    assert "store failed" in finding(base, "collector.log").seen


def test_distribution_that_owns_the_same_folder(base, tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "neural_dsl-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "neural").mkdir()
    (site / "neural" / "__init__.py").touch()  # some readers of RECORD ignore missing files
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: neural-dsl\nVersion: 1.0\n")
    (info / "RECORD").write_text("neural/__init__.py,,\nneural_dsl-1.0.dist-info/METADATA,,\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])

    found = finding(base, "installation")

    assert found.level == PROBLEM
    assert "neural-dsl also installs neural/" in found.seen
    assert "pip uninstall neural-dsl" in found.advice


def test_outbox_that_does_not_say_whose_it_is(base):
    folder = State.for_base_dir(base).outbox / "00"
    folder.mkdir(parents=True)
    (folder / "session.json").write_text("{}")
    (folder / "control").write_bytes(bytes(4096))
    (folder / "owner.lock").write_text("")

    assert "damaged" in finding(base, "outboxes").seen
