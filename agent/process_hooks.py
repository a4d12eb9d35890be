"""Handles open sessions when the process forks, exits, or ends with an exception."""

from __future__ import annotations

import atexit
import os
import sys
import time
import weakref
from types import TracebackType
from typing import TYPE_CHECKING

from neural.tracking.core import exit_code
from neural.tracking.core.warn import traceback_text, warn

if TYPE_CHECKING:
    from neural.tracking.agent.emit.outbox import Outbox, OutboxSegment
    from neural.tracking.agent.session import Session

TIMEOUT_S, LAST_TIMEOUT_S = 5.0, 60.0

_sessions: weakref.WeakSet[Session] = weakref.WeakSet()
_installed = False
_failure: str | None = None
_previous_hook = sys.excepthook
exit_code.watch()
_inherited: list[Outbox] = []  # in a forked child: keeps the parent's outboxes from being finalised


def remember(session: Session) -> None:
    """Register a session, so that forks and the exit of the process handle it."""
    global _installed, _previous_hook
    _sessions.add(session)
    if not _installed:
        _installed = True
        os.register_at_fork(after_in_child=_after_fork_in_child)
        atexit.register(_at_exit)
        _previous_hook, sys.excepthook = sys.excepthook, _note_failure
        exit_code.on_exit = _note_exit
    _close_with_worker(session)


def forget(session: Session) -> None:
    """Remove a session from the hooks, because its user closed it."""
    _sessions.discard(session)


def do_nothing() -> None:
    """Do nothing; replaces a callback that is no longer needed."""


def leave_to_parent(outbox: Outbox, segments: list[OutboxSegment]) -> None:
    """Release an inherited outbox in a forked child, without a change to the parent's files."""
    try:
        outbox.abandon(segments)
    except (OSError, ValueError, BufferError):
        _inherited.append(outbox)


def default_timeout_s() -> float:
    """Return the default time limit of a close in seconds: 60 in a SLURM step or a container, where the
    collector ends with this process, otherwise 5.
    """
    if os.environ.get("SLURM_STEP_ID") or _in_container():
        return LAST_TIMEOUT_S
    return TIMEOUT_S


def _in_container() -> bool:
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        return True
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


def _after_fork_in_child() -> None:
    for session in list(_sessions):
        session._become_child()


def _close_with_worker(session: Session) -> None:
    """Close the session at the end of a multiprocessing child, which runs finalizers but not atexit."""
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if process is None or util is None or process.parent_process() is None:
        return
    reference = weakref.ref(session)

    def finish() -> None:
        left = reference()
        if left is not None:
            left.close("completed")

    util.Finalize(None, finish, exitpriority=0)


def _note_failure(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Remember the exception that ends the process, then call the previous hook."""
    global _failure
    try:
        _failure = traceback_text(kind, error, trace)
    finally:
        _previous_hook(kind, error, trace)


def _note_exit(code: object) -> None:
    """Remember that the process ends by ``sys.exit`` with a code other than 0."""
    global _failure
    if code is not None and code != 0:
        _failure = _failure or f"SystemExit: {code!s:.1000}"


def _at_exit() -> None:
    """Close all sessions that are still open, with one common deadline."""
    deadline = time.monotonic() + default_timeout_s()
    status = "completed" if _failure is None else "failed"
    for session in list(_sessions):
        try:
            session.close(status, _failure, max(0.1, deadline - time.monotonic()))
        except Exception:  # noqa: BLE001 - the failure of one session must not keep the others open
            name = session.run.name
            warn("run %s was not closed; a collector will adopt its outbox", name, with_traceback=True)
