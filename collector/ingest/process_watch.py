"""Watches the processes behind sessions: reports at once when one ends, with its signal if the kernel knows it.

This is only a hint. That an owner is gone is decided by its lock, which also works where process ids have
another meaning (containers) or processes cannot be watched (macOS).
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Callable
from typing import Any

from neural.tracking.collector.log.sessions import VIA, Sessions, SessionState
from neural.tracking.core.process_end import (
    REAPED_WITHIN_S,
    UNKNOWN_DEATH,
    Death,
    ask_kernel,
    open_pidfd,
    same_process,
)


class ProcessWatch:
    """The processes of the sessions that sent HELLO from this host. Runs on the event loop."""

    def __init__(self, on_exit: Callable[[bytes], None]) -> None:
        self._on_exit = on_exit
        self._fds: dict[bytes, int] = {}
        self._gone: set[bytes] = set()

    def add(self, session: SessionState) -> None:
        """Watch the session's process, if it runs on this host and can be watched. Never blocks."""
        if session.id in self._fds or not is_local(session.info):
            return
        fd = open_pidfd(session.info)
        if fd is not None:
            self._fds[session.id] = fd
            asyncio.get_running_loop().add_reader(fd, self._exited, session.id)

    def is_running(self, session: bytes) -> bool:
        """Return whether the process is watched and has not ended. Never blocks."""
        return session in self._fds and session not in self._gone

    async def death(self, session: bytes) -> Death:
        """Return how the session's process ended; wait up to 2 s until its parent has read its exit code."""
        patient_until = time.monotonic() + REAPED_WITHIN_S
        while session in self._fds:
            death = ask_kernel(self._fds[session])
            if death is not None:
                return death
            if session not in self._gone or time.monotonic() > patient_until:
                break
            await asyncio.sleep(0.05)
        return UNKNOWN_DEATH

    def forget(self, session: bytes) -> None:
        """Stop watching; safe to call for a session that is not watched. Never blocks."""
        fd = self._fds.pop(session, None)
        self._gone.discard(session)
        if fd is not None:
            asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)

    def prune(self, sessions: Sessions) -> None:
        """Stop watching the processes of sessions that have ended. Never blocks."""
        for watched in list(self._fds):
            session = sessions.get(watched)
            if session is None or session.ended is not None:
                self.forget(watched)

    def close(self) -> None:
        """Stop watching all processes. Never blocks."""
        for session in list(self._fds):
            self.forget(session)

    def _exited(self, session: bytes) -> None:
        asyncio.get_running_loop().remove_reader(self._fds[session])  # the descriptor stays readable for ever
        self._gone.add(session)
        self._on_exit(session)


def is_local(info: dict[str, Any]) -> bool:
    """Return whether the session's process runs, or ran, on this host. Never blocks."""
    return VIA not in info and info.get("host") == platform.node()  # VIA decides: two hosts may have one name


def is_alive(info: dict[str, Any]) -> bool:
    """Return whether the session's very process still runs here; True if that is unknown. Never blocks."""
    if not isinstance(info.get("pid"), int) or not is_local(info):
        return True
    return same_process(info)
