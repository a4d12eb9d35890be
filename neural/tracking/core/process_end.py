"""Finds out from the kernel how a process ended, and describes it in words."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
from typing import Any, NamedTuple

from neural.tracking.core import os_support

REAPED_WITHIN_S = 2.0  # the kernel reports the exit only after the parent has waited, which may take a while
# From linux/pidfd.h (Linux >= 6.15): struct pidfd_info, first published size, and its ioctl.
_INFO = struct.Struct("<QQ11Ii")
_INFO_BYTES = 64
_INFO_EXIT = 1 << 3
_GET_INFO = (3 << 30) | (_INFO_BYTES << 16) | (0xFF << 8) | 11


class Death(NamedTuple):
    """How a process ended, as far as is known."""

    reason: str
    signal: int | None = None
    open_gap: str | None = None  # why more events may have been emitted than are known


UNKNOWN_DEATH = Death("died")
POWER_LOSS = Death("the host lost power", open_gap="host_lost_power")
OUTBOX_GONE = Death("died, and its outbox is gone", open_gap="outbox_gone")


def same_process(info: dict[str, Any]) -> bool:
    """Return whether the process in a session's description still runs on this host."""
    pid, started = info.get("pid"), info.get("start_time")
    if not isinstance(pid, int) or info.get("boot_id") != os_support.boot_id():
        return False
    ticks = os_support.process_start_ticks(pid)
    return ticks is not None and (not isinstance(started, int) or started == ticks)


def open_pidfd(info: dict[str, Any]) -> int | None:
    """Return a pidfd, which becomes readable when the session's process ends; None if there is no process.

    Also None if the system has no pidfd. The caller must close it.
    """
    pid = info.get("pid")
    if not isinstance(pid, int) or not 0 < pid < 2**31 or not hasattr(os, "pidfd_open"):
        return None
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    if same_process(info):  # otherwise the pid belongs to another process now
        return fd
    os.close(fd)
    return None


def ask_kernel(fd: int) -> Death | None:
    """Return how the process of a pidfd ended; None while it lives, or its parent has not waited for it.

    Never blocks. A kernel before Linux 6.15 cannot report it: then the answer is ``UNKNOWN_DEATH``.
    """
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
