"""Fallbacks for missing features of the operating system give the same results."""

import mmap
import os
import select
import subprocess
import sys

import pytest

from neural.tracking.core import os_support

TAKEN_AWAY = ["posix_fallocate", "fdatasync", "eventfd"]


@pytest.fixture(params=["as it is", "taken away"])
def maybe_bare(request, monkeypatch):
    if request.param == "taken away":
        for name in TAKEN_AWAY:
            monkeypatch.delattr(os, name, raising=False)
        monkeypatch.delattr(mmap, "MADV_DONTFORK", raising=False)


@pytest.mark.usefixtures("maybe_bare")
def test_preallocated_file_has_its_blocks(tmp_path):
    with (tmp_path / "f").open("w+b") as file:
        os_support.preallocate(file.fileno(), (1 << 20) + 4096)

        status = os.fstat(file.fileno())
        assert status.st_size == (1 << 20) + 4096
        assert status.st_blocks * 512 >= status.st_size
        os_support.sync_data(file.fileno())


@pytest.mark.usefixtures("maybe_bare")
def test_wake_wakes_a_poll_once():
    wake = os_support.Wake()
    try:
        assert select.select([wake.fd], [], [], 0)[0] == []
        wake.set()
        wake.set()
        assert select.select([wake.fd], [], [], 0)[0] == [wake.fd]
        wake.clear()
        assert select.select([wake.fd], [], [], 0)[0] == []
    finally:
        wake.close()


def test_second_process_does_not_get_a_held_lock(tmp_path):
    path = tmp_path / "lock"
    ask = (
        "import sys; from neural.tracking.core import os_support; f = open(sys.argv[1], 'r+b');"
        "print(os_support.lock_exclusively(f.fileno()), os_support.own_record_lock(f.fileno()))"
    )

    def other_process_gets():
        return subprocess.check_output([sys.executable, "-P", "-c", ask, str(path)], text=True).split()

    with path.open("w+b") as file:
        assert os_support.lock_exclusively(file.fileno())
        assert os_support.own_record_lock(file.fileno())
        assert other_process_gets() == ["False", "False"]
    assert other_process_gets() == ["True", "True"]


def test_process_is_told_from_its_successor_by_its_start():
    with subprocess.Popen(["sleep", "60"]) as child:
        started = os_support.process_start_ticks(child.pid)
        assert started is not None
        assert started == os_support.process_start_ticks(child.pid)
        child.kill()
    assert os_support.process_start_ticks(child.pid) is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads mountinfo")
def test_file_system_that_is_not_known_to_be_local_counts_as_network(tmp_path):
    assert os_support.file_system(tmp_path)[1]
    assert not os_support.file_system("/proc")[1]
