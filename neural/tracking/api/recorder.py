"""The writing half of a tracker: it owns the session, and opens it when the first event needs it.

The constructor of a new run opens the session, so that the first step of a training costs no more than the
others. A tracker that only reads a run, or was pickled into another process, has no session until something is
logged. A disabled tracker never has one.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neural.tracking.core.config import AgentConfig
from neural.tracking.errors import ConfigError, TrackingError
from neural.tracking.formats.events import END_STATUSES

if TYPE_CHECKING:
    from neural.tracking.agent import RunIdentity, Session
    from neural.tracking.artifacts.pending import PendingArtifacts
    from neural.tracking.artifacts.version import ArtifactVersion
    from neural.tracking.reader.run import Damaged

METADATA_WAIT_S = 1.0
METADATA_RETRY_S = 5.0
METADATA_AFTER_S = 0.5  # its imports hold the interpreter's lock, which the first training steps need


class Opening(NamedTuple):
    """Everything that opening a session of a run needs; it is pickled with a tracker."""

    base_dir: Path
    folder: Path
    identity: RunIdentity
    config: AgentConfig
    event: Mapping[str, Any]
    resumes: bool = False  # an existing run: its first log call begins a new attempt
    damaged: Damaged = "raise"  # what reading does about damage


class Recorder:
    """Emits what one tracker logs into a session of its own."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.session: Session | None = None
        self.started = False  # an event other than the open event was logged
        self.ended: str | None = None
        self._metadata: threading.Thread | None = None
        self._metadata_now = threading.Event()
        self._opening = threading.RLock()
        self.pending_artifacts: PendingArtifacts | None = None  # not yet stored by the collector
        _recorders.add(self)

    def open(self) -> Session:
        """Return the session; open it now if it is not open.

        Raises:
            OSError, ConfigError: as :func:`~neural.tracking.agent.open_session`.

        Blocks: some milliseconds on the disk, if it opens; a run that is continued is read first.
        """
        session = self.session
        if session is None:
            with self._opening:
                session = self.session  # another thread may have been first
                if session is None:
                    session = self._open()
        return session

    def _open(self) -> Session:
        from neural.tracking.agent import open_session

        first_step = self._begin_attempt() if self.opening.resumes else 0
        opening = self.opening
        self.session = open_session(
            opening.identity,
            opening.base_dir,
            config=opening.config,
            open_event=opening.event,
            first_step=first_step,
        )
        self._gather_metadata(self.session)
        return self.session

    def emit(self, kind: str, payload: Mapping[str, Any], *, step: int | None = None) -> bool:
        """Emit one event; return whether it is in the outbox. Opens the session if necessary, as :meth:`open`.

        Raises:
            TrackingError: the tracker is finished.
            PayloadTooLargeError: the event is over 256 KiB.
        """
        self.refuse_if_ended(kind)
        kept = self.open().emit(kind, dict(payload), step=step)
        self.started = True
        return kept

    def follow(self, call: Mapping[str, Any]) -> ArtifactVersion:
        """Return the version of an artifact call, and watch its outcome. Never blocks."""
        from neural.tracking.artifacts.pending import PendingArtifacts
        from neural.tracking.artifacts.version import ArtifactVersion

        folder, offline = self.opening.folder, self.opening.config.mode != "online"
        if self.pending_artifacts is None or self.pending_artifacts.pid != os.getpid():
            session = self.session
            remote = session is not None and session.config.collector is not None
            leaves_from = session.spool / session.id.hex() if session is not None and remote else None
            self.pending_artifacts = PendingArtifacts(
                folder, self._state, offline=offline, leaves_from=leaves_from
            )
        version = ArtifactVersion(
            folder, call, time.time_ns(), aliases=call["aliases"], follow=self.pending_artifacts
        )
        self.pending_artifacts.add(version)
        return version

    def _state(self) -> str:
        return "" if self.session is None else self.session.state

    def metrics_emitter(self) -> Callable[[Mapping[str, Any], int | None], bool]:
        """Return the function that ``log_metrics`` calls from now on: the session's own; opens the session.

        Raises:
            TrackingError: the tracker is finished.
        """
        self.refuse_if_ended("metrics")
        return self.open().emit_metrics

    @property
    def ends_attempt(self) -> bool:
        """Whether the end of this session ends the attempt, as far as this process can know."""
        run = self.opening.identity if self.session is None else self.session.run
        return run.rank == 0 and run.role != "child"

    def refuse_if_ended(self, what: str) -> None:
        """Raise TrackingError once the tracker is finished."""
        if self.ended is not None:
            run = self.opening.identity.uid.hex()[:8]
            raise TrackingError(
                f"cannot log {what}: this tracker is finished ({self.ended}); "
                f"ExperimentManager.get_experiment({run!r}) continues its run"
            )

    def flush(self, timeout_s: float) -> bool:
        """Wait until all events and artifacts are stored and visible; return whether they are.

        Blocks for ``timeout_s`` seconds at most. Lost artifacts give a warning and do not make it False.
        """
        deadline = _deadline(timeout_s)
        flushed = self.session is None or self.session.flush(timeout_s)
        return self._artifacts_settled(deadline if flushed else 0.0) and flushed

    def close(self, status: str, error: str | None, timeout_s: float | None) -> bool:
        """Emit the end and wait until everything is stored; return whether it is. Blocks as ``finish()``.

        Raises:
            ConfigError: ``status`` is neither ``completed`` nor ``failed``.
        """
        if status not in END_STATUSES:
            raise ConfigError(f"status is {status!r}; a run ends {' or '.join(END_STATUSES)}")
        if self.ended is not None:
            return self.flush(0.0 if timeout_s is None else timeout_s)
        _deadline(timeout_s or 0.0)
        self.ended = status
        if self.session is None:
            return True
        from neural.tracking.agent import process_hooks

        timeout_s = process_hooks.default_timeout_s() if timeout_s is None else timeout_s
        deadline = time.monotonic() + timeout_s
        self._await_metadata(min(METADATA_WAIT_S, timeout_s / 2))
        closed = self.session.close(status, error, max(0.0, deadline - time.monotonic()))
        # Without the events, the collector cannot have the artifacts either, so do not wait for them.
        return self._artifacts_settled(deadline if closed else 0.0) and closed

    def _artifacts_settled(self, deadline: float) -> bool:
        """Wait until every artifact is stored or lost; warn of new losses."""
        pending = self.pending_artifacts
        if pending is None or pending.pid != os.getpid():
            return True
        settled = pending.settle(max(0.0, deadline - time.monotonic()))
        if lost := pending.take_lost():
            from neural.tracking.core.warn import warn

            reasons = ", ".join(f"{version.artifact_name}: {version.lost}" for version in lost[:5])
            warn("%d artifacts of run %s are lost: %s", len(lost), self.opening.identity.name, reasons)
        return settled

    def _begin_attempt(self) -> int:
        """Begin the run's next attempt; return its first default step."""
        from neural.tracking.reader.run import Run

        run = Run(self.opening.folder, "skip")  # old damage must not stop a training that continues
        attempts = [session.attempt for session in run.facts.sessions.values()]
        identity = self.opening.identity._replace(attempt=max(attempts, default=0) + 1)
        self.opening = self.opening._replace(identity=identity, resumes=False)
        return run.call_count()

    def _gather_metadata(self, session: Session) -> None:
        if self.opening.identity.role == "child":
            return  # its parent has emitted the metadata
        try:
            thread = threading.Thread(
                target=_emit_metadata, args=(session, self._metadata_now), name="ntrack-metadata", daemon=True
            )
            thread.start()
        except RuntimeError:  # no thread can start: the run has no metadata
            return
        self._metadata = thread
        # Runs before the session's own exit hook, which was registered first and emits the end.
        atexit.register(self._await_metadata, METADATA_WAIT_S)

    def _await_metadata(self, timeout_s: float) -> None:
        if self._metadata is not None:
            self._metadata_now.set()
            self._metadata.join(timeout_s)
            self._metadata = None
            atexit.unregister(self._await_metadata)


def _renew_locks() -> None:
    """Replace the locks in a forked child, where the threads that may hold them do not exist."""
    for recorder in list(_recorders):
        recorder._opening = threading.RLock()


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()
os.register_at_fork(after_in_child=_renew_locks)


class NoRecorder(Recorder):
    """The recorder of ``disabled`` mode: accepts everything, keeps nothing, creates no file."""

    def open(self) -> Session:
        """Raise TrackingError."""
        raise TrackingError("tracking is disabled")

    def emit(self, kind: str, payload: Mapping[str, Any], *, step: int | None = None) -> bool:
        """Return True; raise TrackingError once the tracker is finished."""
        self.refuse_if_ended(kind)
        self.started = True
        return True

    def metrics_emitter(self) -> Callable[[Mapping[str, Any], int | None], bool]:
        """Return a function that keeps nothing; raise TrackingError once the tracker is finished."""
        self.refuse_if_ended("metrics")
        return _keep_nothing


def _keep_nothing(metrics: Mapping[str, Any], step: int | None = None) -> bool:
    return True


def _emit_metadata(session: Session, at_once: threading.Event) -> None:
    at_once.wait(METADATA_AFTER_S)
    from neural.tracking.core import fork_lock

    with fork_lock.held_off:
        from neural.tracking.api.environment import gather_metadata

    event = {"values": gather_metadata()}
    try:
        # A full disk drops the event; a later attempt may have room. A closed session gets no event: that would
        # warn of a loss without a cause.
        while session.state != "closed" and not session.emit("metadata", event):
            time.sleep(METADATA_RETRY_S)
    except TrackingError:  # the session was closed while git was running
        return


def _deadline(timeout_s: float) -> float:
    try:
        return time.monotonic() + timeout_s
    except TypeError:
        raise TypeError(f"timeout must be a number of seconds, not {type(timeout_s).__name__}") from None
