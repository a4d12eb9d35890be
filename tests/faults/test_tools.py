"""The tools of the fault tests work: with a tool that does nothing, every test would pass."""

import errno
import os
import signal
import time

import psutil
import pytest

from tests.faults.disks import needs_namespaces
from tests.faults.harness import Collector, flip_bit, suspended
from tests.faults.injection import (
    DURABLE_STEPS,
    SYNCS,
    UNLINKS,
    Faults,
    attach_strace,
    fail_at,
    kill_at,
    needs_strace,
    under_strace,
)
from tests.patience import wait_until

# Five times: sync, rename, unlink; in two threads in turn. Records its calls and errors.
STEPS = """
import os, threading
def step(i):
    path = base_dir / f"file-{i}"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        os.fdatasync(fd)
    except OSError as error:
        print("sync", i, error.errno, flush=True)
    os.rename(path, base_dir / f"moved-{i}")
    os.unlink(base_dir / f"moved-{i}")
    returned[0] = i
base_dir.mkdir(exist_ok=True)
ready()
for i in range(1, 6):
    thread = threading.Thread(target=step, args=(i,))
    thread.start()
    thread.join()
"""
STEPS_IN_ONE_THREAD = STEPS.replace("thread = threading.Thread(target=step, args=(i,))", "step(i); continue")
COUNTING = """
import itertools, time
ready()
for i in itertools.count(1):
    returned[0] = i
    time.sleep(0.0001)
"""


@needs_strace
def test_strace_fails_the_nth_call(keeper, base_dir):
    prefix = under_strace([], calls=SYNCS, nth=3, error="EIO")

    trainer = keeper.trainer(base_dir, STEPS_IN_ONE_THREAD, prefix=prefix)
    trainer.succeed()

    assert trainer.output == f"sync 3 {errno.EIO}\n"
    assert trainer.returned() == 5


@needs_strace
def test_strace_fails_all_later_calls(keeper, base_dir):
    prefix = under_strace([], calls=SYNCS, nth=4, error="ENOSPC", every_later=True)

    trainer = keeper.trainer(base_dir, STEPS_IN_ONE_THREAD, prefix=prefix)
    trainer.succeed()

    assert trainer.output == f"sync 4 {errno.ENOSPC}\nsync 5 {errno.ENOSPC}\n"


@needs_strace
@pytest.mark.parametrize(("calls", "left_behind"), [(UNLINKS, "moved-2"), (("rename",), "file-2")])
def test_strace_kills_before_the_nth_call_is_done(keeper, base_dir, calls, left_behind):
    prefix = under_strace([], calls=calls, nth=2, signal="SIGKILL")

    trainer = keeper.trainer(base_dir, STEPS_IN_ONE_THREAD, prefix=prefix)

    assert trainer.wait() == -signal.SIGKILL
    assert trainer.returned() == 1
    assert os.listdir(base_dir) == [left_behind]


@needs_strace
def test_strace_can_be_attached_to_a_running_process(keeper, base_dir):
    trainer = keeper.trainer(base_dir, STEPS_IN_ONE_THREAD.replace("ready()", "ready(); wait_for_go()"))
    trainer.wait_ready()

    tracer = attach_strace(trainer.pid, calls=DURABLE_STEPS, signal="SIGKILL")
    trainer.go()

    assert trainer.wait() == -signal.SIGKILL
    assert trainer.returned() == 0
    tracer.wait(120)


def test_hook_counts_the_calls_of_all_threads_together(keeper, base_dir, tmp_path):
    faults, rule = Faults(tmp_path / "faults"), kill_at(["fdatasync"], 3)

    trainer = keeper.trainer(base_dir, STEPS, environment=faults.environment(rule))

    assert trainer.wait() == -signal.SIGKILL
    assert trainer.returned() == 2
    assert os.listdir(base_dir) == ["file-3"]
    assert faults.fired(rule) == [trainer.pid]


def test_hook_kills_after_the_call_where_asked(keeper, base_dir, tmp_path):
    rule = kill_at(["rename"], 2, when="after")

    trainer = keeper.trainer(base_dir, STEPS, environment=Faults(tmp_path / "faults").environment(rule))

    assert trainer.wait() == -signal.SIGKILL
    assert os.listdir(base_dir) == ["moved-2"]


def test_hook_kills_once_not_again_after_the_restart(keeper, base_dir, tmp_path):
    environment = Faults(tmp_path / "faults").environment(kill_at(["unlink", "rename"], 4))
    assert keeper.trainer(base_dir, STEPS, environment=environment).wait() == -signal.SIGKILL

    again = keeper.trainer(base_dir, STEPS, environment=environment)

    again.succeed()
    assert again.returned() == 5


def test_hook_fails_calls_so_many_times(keeper, base_dir, tmp_path):
    faults, rule = Faults(tmp_path / "faults"), fail_at(["fdatasync"], 2, "EIO", times=2)

    trainer = keeper.trainer(base_dir, STEPS, environment=faults.environment(rule))
    trainer.succeed()

    assert trainer.output == f"sync 2 {errno.EIO}\nsync 3 {errno.EIO}\n"
    assert faults.fired(rule) == [trainer.pid] * 2


def test_hook_loses_what_a_failed_sync_did_not_cover(keeper, base_dir, tmp_path):
    faults = Faults(tmp_path / "faults")
    script = """
import os
base_dir.mkdir()
fd = os.open(base_dir / "file", os.O_CREAT | os.O_WRONLY)
for piece in (b"first", b"second", b"third"):
    os.write(fd, piece)
    try:
        os.fdatasync(fd)
    except OSError as error:
        print(error.errno, end="")
"""

    rule = fail_at(["fdatasync"], 2, "EIO", loses=True)
    trainer = keeper.trainer(base_dir, script, environment=faults.environment(rule))
    trainer.succeed()

    assert trainer.output == str(errno.EIO)
    assert (base_dir / "file").read_bytes() == b"first" + bytes(6) + b"third"


def test_hook_leaves_other_command_lines_alone(keeper, base_dir, tmp_path):
    faults, rule = Faults(tmp_path / "faults"), kill_at(["fdatasync"], 1, only="neural.tracking.collector")

    keeper.trainer(base_dir, STEPS, environment=faults.environment(rule)).succeed()

    assert faults.fired(rule) == []


def test_hook_records_the_calls_so_that_each_can_be_hit(keeper, base_dir, tmp_path):
    faults = Faults(tmp_path / "faults")

    trainer = keeper.trainer(base_dir, STEPS, environment=faults.environment(record="trainer"))
    trainer.succeed()

    assert [call for _, call, _ in faults.calls()] == ["fdatasync", "rename", "unlink"] * 5
    assert faults.calls()[:3] == [
        (trainer.pid, "fdatasync", str(base_dir / "file-1")),
        (trainer.pid, "rename", str(base_dir / "moved-1")),
        (trainer.pid, "unlink", str(base_dir / "moved-1")),
    ]


@needs_namespaces
def test_small_disk_is_full_when_filled(keeper, base_dir):
    disk = keeper.small_disk(base_dir, 1 << 20)
    ballast = disk.fill(leave_bytes=64 << 10)

    writer = keeper.trainer(
        base_dir,
        """
import errno
try:
    (base_dir / "big").write_bytes(bytes(128 << 10))
except OSError as error:
    print(errno.errorcode[error.errno], end="")
""",
        disk=disk,
    )

    writer.succeed()
    assert writer.output == "ENOSPC"
    assert not (base_dir / "big").exists()
    assert disk.free_bytes() == 0
    ballast.unlink()
    assert disk.free_bytes() > 900 << 10


@needs_namespaces
def test_small_disk_runs_out_of_inodes(keeper, base_dir):
    disk = keeper.small_disk(base_dir, 1 << 20, inodes=10)

    with pytest.raises(OSError, match="No space left"):
        for number in range(10):
            (disk.outside() / str(number)).touch()

    assert disk.free_bytes() > 900 << 10


@needs_namespaces
def test_bound_disk_is_read_only_inside_and_writable_outside(keeper, base_dir):
    base_dir.mkdir()
    disk = keeper.bound_disk(base_dir)
    script = "import os\nprint(os.strerror(30))\n(base_dir / 'new').touch()"

    trainer = keeper.trainer(base_dir, script, disk=disk)

    assert trainer.wait() == 1
    assert "Read-only file system: " in trainer.output
    (base_dir / "from-outside").touch()
    disk.set_read_only(False)
    keeper.trainer(base_dir, script, disk=disk).succeed()
    assert (base_dir / "new").exists()


def test_trainer_killed_at_random_tells_how_far_it_got(keeper, base_dir, rng):
    trainer = keeper.trainer(base_dir, COUNTING)
    trainer.wait_returned(10)

    count = trainer.kill_within(0.0, 0.1, rng)

    assert count >= 10
    assert trainer.process.returncode == -signal.SIGKILL
    assert trainer.returned() == count


def test_trainer_that_dies_early_is_told_with_its_traceback(keeper, base_dir):
    trainer = keeper.trainer(base_dir, "raise RuntimeError('no such thing')")

    with pytest.raises(AssertionError, match="no such thing"):
        trainer.wait_ready()


def test_suspended_process_does_nothing(keeper, base_dir):
    trainer = keeper.trainer(base_dir, COUNTING)
    trainer.wait_returned(1)

    with suspended(psutil.Process(trainer.pid)):
        wait_until(lambda: psutil.Process(trainer.pid).status() == psutil.STATUS_STOPPED)
        before = trainer.returned()
        time.sleep(0.05)  # the claim is that nothing happens; there is no condition to wait for
        assert trainer.returned() == before

    trainer.wait_returned(before + 1)


LOCKING = """
import json, os, time
state = base_dir / ".ntrack"
state.mkdir(parents=True)
(state / "collector.lock").write_text(json.dumps({"pid": os.getpid(), "started_ns": time.time_ns()}))
ready()
time.sleep(60)
"""


def test_collector_is_found_and_killed_by_its_lock(keeper, base_dir):
    trainer = keeper.trainer(base_dir, LOCKING)
    trainer.wait_ready()

    killed = Collector(base_dir).kill()

    assert killed == trainer.pid
    assert trainer.wait() == -signal.SIGKILL
    assert Collector(base_dir).kill() is None


def test_a_process_that_got_the_pid_of_a_dead_collector_is_left_alone(keeper, base_dir):
    trainer = keeper.trainer(base_dir, LOCKING.replace("time.time_ns()", "time.time_ns() - 10**12"))
    trainer.wait_ready()

    assert Collector(base_dir).kill() is None

    assert trainer.process.poll() is None


def test_keeper_ends_what_it_started_and_their_children(keeper, base_dir):
    trainer = keeper.trainer(
        base_dir,
        "import subprocess, time\nreturned[0] = subprocess.Popen(['sleep', '60']).pid\ntime.sleep(60)",
    )
    trainer.wait_returned(1)
    child = psutil.Process(trainer.returned())

    keeper.end()

    assert trainer.process.returncode == -signal.SIGKILL
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_keeper_ends_a_detached_process_of_the_folder_that_holds_no_lock_yet(keeper, base_dir):
    trainer = keeper.trainer(
        base_dir,
        """
import subprocess
command = ["sh", "-c", "sleep 60; true", "collector", str(base_dir)]
returned[0] = subprocess.Popen(command, start_new_session=True).pid
""",
    )
    trainer.succeed()
    detached = psutil.Process(trainer.returned())

    keeper.end()

    wait_until(lambda: not detached.is_running() or detached.status() == psutil.STATUS_ZOMBIE)


def test_flip_bit_changes_that_bit_only(tmp_path):
    file = tmp_path / "bytes"
    file.write_bytes(bytes(3))

    flip_bit(file, 10)

    assert file.read_bytes() == b"\0\4\0"


def test_wait_until_says_what_it_waited_for():
    with pytest.raises(AssertionError, match=r"not within 0\.01 s: the sun rises"):
        wait_until(lambda: False, 0.01, "the sun rises")
