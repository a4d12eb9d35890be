"""Watches the processes behind sessions: told at once when one ends, with its signal where the kernel tells.

Only a hint: that an owner is gone is decided by its lock, which also works where process ids mean
something else (containers) or cannot be watched (macOS).
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import platform
import signal
import struct
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from neural.tracking import system
from neural.tracking.collector.sessions import Session, Sessions

# From linux/pidfd.h (Linux >= 6.15): struct pidfd_info, first published size, and its ioctl.
_INFO = struct.Struct("<QQ11Ii")
_INFO_BYTES = 64
_INFO_EXIT = 1 << 3
_GET_INFO = (3 << 30) | (_INFO_BYTES << 16) | (0xFF << 8) | 11


class Death(NamedTuple):
    """How a process ended, as far as is known."""

    reason: str
    signal: int | None = None
    open_gap: str | None = None  # why more may have been emitted than anybody knows of


UNKNOWN_DEATH = Death("died")
POWER_LOSS = Death("the host lost power", open_gap="host_lost_power")
OUTBOX_GONE = Death("died, and its outbox is gone", open_gap="outbox_gone")
REAPED_WITHIN_S = 2.0  # a launcher may be slow to wait for its dead child, and only then the kernel tells


class Watch:
    """The processes of the sessions that said HELLO from this host."""

    def __init__(self, on_exit: Callable[[bytes], None]) -> None:
        self._on_exit = on_exit
        self._fds: dict[bytes, int] = {}
        self._gone: set[bytes] = set()

    def add(self, session: Session) -> None:
        """Watch the session's process, if it is one of this host that can be watched."""
        if session.id in self._fds or not is_local(session.info):
            return
        fd = _open_pidfd(session.info)
        if fd is not None:
            self._fds[session.id] = fd
            asyncio.get_running_loop().add_reader(fd, self._exited, session.id)

    def sees_alive(self, session: bytes) -> bool:
        """Return whether the process is watched and has not ended."""
        return session in self._fds and session not in self._gone

    async def death(self, session: bytes) -> Death:
        """Return how the session's process ended; waits a little for its parent to take note of it."""
        patient_until = time.monotonic() + REAPED_WITHIN_S
        while session in self._fds:
            death = _ask_kernel(self._fds[session])
            if death is not None:
                return death
            if session not in self._gone or time.monotonic() > patient_until:
                break
            await asyncio.sleep(0.05)
        return UNKNOWN_DEATH

    def forget(self, session: bytes) -> None:
        """Stop watching; safe to call for what is not watched."""
        fd = self._fds.pop(session, None)
        self._gone.discard(session)
        if fd is not None:
            asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)

    def prune(self, sessions: Sessions) -> None:
        """Stop watching for sessions that have ended."""
        for watched in list(self._fds):
            session = sessions.get(watched)
            if session is None or session.ended is not None:
                self.forget(watched)

    def close(self) -> None:
        """Stop watching all."""
        for session in list(self._fds):
            self.forget(session)

    def _exited(self, session: bytes) -> None:
        asyncio.get_running_loop().remove_reader(self._fds[session])  # it stays readable for ever
        self._gone.add(session)
        self._on_exit(session)


def is_local(info: dict[str, Any]) -> bool:
    """Return whether the session's process runs, or ran, on this host."""
    return info.get("host") == platform.node()


def is_alive(info: dict[str, Any]) -> bool:
    """Return whether the session's very process still runs here; True where that cannot be told."""
    pid, started = info.get("pid"), info.get("start_time")
    if not isinstance(pid, int) or not is_local(info):
        return True
    if info.get("boot_id") != system.boot_id():
        return False
    ticks = system.process_start_ticks(pid)
    return ticks is not None and (not isinstance(started, int) or started == ticks)


def _open_pidfd(info: dict[str, Any]) -> int | None:
    pid = info.get("pid")
    if not isinstance(pid, int) or not 0 < pid < 2**31 or not hasattr(os, "pidfd_open"):
        return None
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    if is_alive(info):  # else the number belongs to another process by now
        return fd
    os.close(fd)
    return None


def _ask_kernel(fd: int) -> Death | None:
    """Return how the process ended; None while it lives, or nobody has waited for it."""
    buffer = bytearray(_INFO_BYTES)
    _INFO.pack_into(buffer, 0, _INFO_EXIT, *([0] * 13))
    try:
        fcntl.ioctl(fd, _GET_INFO, buffer)
    except OSError as error:
        unknown = error.errno in (errno.ENOTTY, errno.EINVAL, errno.ESRCH)  # an older kernel
        return UNKNOWN_DEATH if unknown else Death(str(error))
    mask, *_, status = _INFO.unpack_from(buffer)
    if not mask & _INFO_EXIT:
        return None
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return Death(f"killed by {_name(number)}", number)
    return Death(f"exited with code {os.waitstatus_to_exitcode(status)} without an end")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
