"""Watching processes: their end is reported, with the signal if the kernel reports it."""

import asyncio
import os
import platform
import signal
import subprocess
import sys

import pytest

from neural.tracking.collector.ingest.process_watch import UNKNOWN_DEATH, Death, ProcessWatch, is_alive
from neural.tracking.collector.log.sessions import SessionState
from neural.tracking.core import os_support
from tests.patience import PATIENCE_S

KERNEL = tuple(int(part) for part in platform.release().split(".")[:2]) if sys.platform == "linux" else (0, 0)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has pidfds")


def session_of(pid, **changes):
    info = {
        "pid": pid,
        "host": platform.node(),
        "boot_id": os_support.boot_id(),
        "start_time": os_support.process_start_ticks(pid),
    }
    return SessionState(b"s" * 16, b"u" * 16, {**info, **changes})


def watch_the_end_of(how):
    """Watch a process, end it by ``how(process)``, return its reported end."""

    async def scenario():
        gone = asyncio.Event()
        watch = ProcessWatch(lambda session: gone.set())
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            session = session_of(process.pid)
            watch.add(session)
            assert watch.is_running(session.id)
            how(process)
            await asyncio.wait_for(gone.wait(), PATIENCE_S)
            assert not watch.is_running(session.id)
        death = await watch.death(session.id)
        watch.close()
        return death

    return asyncio.run(scenario())


@linux_only
def test_kill_is_told_with_its_signal():
    death = watch_the_end_of(lambda process: process.kill())

    expected = Death("killed by SIGKILL", signal.SIGKILL) if KERNEL >= (6, 15) else UNKNOWN_DEATH
    assert death == expected


@linux_only
def test_exit_code_is_told():
    def leave(process):
        process.stdin.close()  # input() raises: exit code 1
        process.wait()

    death = watch_the_end_of(leave)

    assert death.signal is None
    assert death.reason == "exited with code 1 without an end" or KERNEL < (6, 15)


def test_process_of_another_host_is_not_watched():
    async def scenario():
        watch = ProcessWatch(lambda session: None)
        watch.add(session_of(os.getpid(), host="elsewhere"))
        return watch.is_running(b"s" * 16)

    assert asyncio.run(scenario()) is False


def test_other_process_under_the_same_number_is_not_the_session():
    assert is_alive(session_of(os.getpid()).info)
    assert not is_alive(session_of(os.getpid(), start_time=1).info)
    assert not is_alive(session_of(os.getpid(), boot_id="another").info)
