"""What happens to sessions when the process forks, ends, or dies of an exception."""

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
_inherited: list[Outbox] = []  # in a forked child: never finalised, they are the parent's


def remember(session: Session) -> None:
    """See to this session at fork and exit."""
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
    """The session was closed by its user."""
    _sessions.discard(session)


def do_nothing() -> None:
    """Stand in for a callback that is no longer wanted."""


def leave_to_parent(outbox: Outbox, segments: list[OutboxSegment]) -> None:
    """In a forked child: let go of an inherited outbox."""
    try:
        outbox.abandon(segments)
    except (OSError, ValueError, BufferError):
        _inherited.append(outbox)


def default_timeout_s() -> float:
    """Return how long a close may take: longer where the collector ends with this process."""
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
    """In a multiprocessing child atexit is not run; its own finalizers are."""
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
    """Remember the exception that ends the process; chained before whatever hook there was."""
    global _failure
    try:
        _failure = traceback_text(kind, error, trace)
    finally:
        _previous_hook(kind, error, trace)


def _note_exit(code: object) -> None:
    """Remember that the process ends by ``sys.exit`` with a code that says it failed."""
    global _failure
    if code is not None and code != 0:
        _failure = _failure or f"SystemExit: {code!s:.1000}"


def _at_exit() -> None:
    """End every session that is still open, all within one deadline."""
    deadline = time.monotonic() + default_timeout_s()
    status = "completed" if _failure is None else "failed"
    for session in list(_sessions):
        try:
            session.close(status, _failure, max(0.1, deadline - time.monotonic()))
        except Exception:  # noqa: BLE001 - one session's trouble must not keep the others from their end
            name = session.run.name
            warn("run %s was not closed, a collector will take its outbox", name, with_traceback=True)
