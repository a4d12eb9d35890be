"""The writing half of a tracker: the session it emits into, opened when the first event needs it.

A new run's session is opened by the constructor, so that the first step of a training costs no more
than the others. A tracker that only reads a run, was pickled into another process, or is disabled
has none until something is logged, or never.
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
METADATA_AFTER_S = 0.5  # its imports hold the interpreter's lock, and a training's first steps want it


class Opening(NamedTuple):
    """All that opening a session of a run takes; travels with a pickled tracker."""

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
        self.started = False  # something beside the opening itself was logged
        self.ended: str | None = None
        self._metadata: threading.Thread | None = None
        self._metadata_now = threading.Event()
        self._opening = threading.RLock()
        self.pending_artifacts: PendingArtifacts | None = (
            None  # artifacts that the collector has still to store
        )
        _recorders.add(self)

    def open(self) -> Session:
        """Return the session, opened now if it was not."""
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
        """Emit one event; return whether it is in the outbox.

        Raises:
            TrackingError: the tracker is finished.
            PayloadTooLargeError: the event is over 256 KiB.
        """
        self.refuse_if_ended(kind)
        kept = self.open().emit(kind, dict(payload), step=step)
        self.started = True
        return kept

    def follow(self, call: Mapping[str, Any]) -> ArtifactVersion:
        """Return the version that an artifact call is to become."""
        from neural.tracking.artifacts.pending import PendingArtifacts
        from neural.tracking.artifacts.version import ArtifactVersion

        folder, offline = self.opening.folder, self.opening.config.mode != "online"
        if self.pending_artifacts is None or self.pending_artifacts.pid != os.getpid():
            session = self.session
            far = session is not None and session.config.collector is not None
            leaves_from = session.spool / session.id.hex() if session is not None and far else None
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
        """Return what ``log_metrics`` is to call from now on: the session's own function."""
        self.refuse_if_ended("metrics")
        return self.open().emit_metrics

    @property
    def ends_attempt(self) -> bool:
        """Whether the end of this session is its attempt's, as far as this process can know."""
        run = self.opening.identity if self.session is None else self.session.run
        return run.rank == 0 and run.role != "child"

    def refuse_if_ended(self, what: str) -> None:
        """Raise TrackingError once the tracker is finished."""
        if self.ended is not None:
            run = self.opening.identity.uid.hex()[:8]
            raise TrackingError(
                f"cannot log {what}: this tracker is finished ({self.ended}); "
                f"ExperimentManager.get_experiment({run!r}) goes on with its run"
            )

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was emitted is stored and visible, artifacts too; return whether it is."""
        deadline = _deadline(timeout_s)
        flushed = self.session is None or self.session.flush(timeout_s)
        return self._artifacts_settled(deadline if flushed else 0.0) and flushed

    def close(self, status: str, error: str | None, timeout_s: float | None) -> bool:
        """Emit the end and wait for it to be stored; return whether all is."""
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
        # Where nobody has the events nobody can have the artifacts, and there is nothing to wait for.
        return self._artifacts_settled(deadline if closed else 0.0) and closed

    def _artifacts_settled(self, deadline: float) -> bool:
        """Wait until something has become of every artifact; a loss that was not told yet is told."""
        pending = self.pending_artifacts
        if pending is None or pending.pid != os.getpid():
            return True
        settled = pending.settle(max(0.0, deadline - time.monotonic()))
        if lost := pending.take_lost():
            from neural.tracking.core.warn import warn

            told = ", ".join(f"{version.artifact_name}: {version.lost}" for version in lost[:5])
            warn("%d artifacts of run %s are lost: %s", len(lost), self.opening.identity.name, told)
        return settled

    def _begin_attempt(self) -> int:
        """Become the run's next attempt; return the step its default steps go on from."""
        from neural.tracking.reader.run import Run

        run = Run(self.opening.folder, "skip")  # a training that goes on is not stopped by old damage
        attempts = [session.attempt for session in run.facts.sessions.values()]
        identity = self.opening.identity._replace(attempt=max(attempts, default=0) + 1)
        self.opening = self.opening._replace(identity=identity, resumes=False)
        return run.call_count()

    def _gather_metadata(self, session: Session) -> None:
        if self.opening.identity.role == "child":
            return  # its parent told all of it
        try:
            thread = threading.Thread(
                target=_emit_metadata, args=(session, self._metadata_now), name="ntrack-metadata", daemon=True
            )
            thread.start()
        except RuntimeError:  # no thread can be had: the run goes without
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
    """In a forked child: a thread that was opening a session is not here to let go of its lock."""
    for recorder in list(_recorders):
        recorder._opening = threading.RLock()


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()
os.register_at_fork(after_in_child=_renew_locks)


class NoRecorder(Recorder):
    """Stands in where ``NTRACK_MODE=disabled``: takes everything, keeps nothing, makes no file."""

    def open(self) -> Session:
        raise TrackingError("tracking is disabled")

    def emit(self, kind: str, payload: Mapping[str, Any], *, step: int | None = None) -> bool:
        self.refuse_if_ended(kind)
        self.started = True
        return True

    def metrics_emitter(self) -> Callable[[Mapping[str, Any], int | None], bool]:
        self.refuse_if_ended("metrics")
        return _keep_nothing


def _keep_nothing(metrics: Mapping[str, Any], step: int | None = None) -> bool:
    return True


def _emit_metadata(session: Session, now: threading.Event) -> None:
    now.wait(METADATA_AFTER_S)
    from neural.tracking.core import fork_lock

    with fork_lock.held_off:
        from neural.tracking.api.environment import gather_metadata

    event = {"values": gather_metadata()}
    try:
        # Dropped where the disk is full: it is worth a second try when there is room, and it can wait.
        # What is finished is not written to: that would warn of a loss nobody caused.
        while session.state != "closed" and not session.emit("metadata", event):
            time.sleep(METADATA_RETRY_S)
    except TrackingError:  # finished while git was still being asked
        return


def _deadline(timeout_s: float) -> float:
    try:
        return time.monotonic() + timeout_s
    except TypeError:
        raise TypeError(f"timeout must be a number of seconds, not {type(timeout_s).__name__}") from None
