"""One process's session of one run: the low-level interface to emit events without a tracker.

    from neural.tracking.agent import choose_run, open_session

    session = open_session(choose_run("probe"), "neural_experiments")
    session.emit_metrics({"loss": 0.5}, step=1)
    session.close("completed", timeout_s=5)

A session belongs to the process that opened it. A forked child that emits, and a process that
unpickles one, write to the same run through a session of their own. They never use what they
inherited from the parent (lock, socket, mappings, thread).
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural.tracking.agent import collector_target, process_hooks, session_info, shutdown
from neural.tracking.agent.emit.emitter import Emitter
from neural.tracking.agent.emit.outbox import Outbox
from neural.tracking.agent.run_identity import RunIdentity
from neural.tracking.agent.send.delivery_state import DeliveryState
from neural.tracking.agent.send.outbox_reader import OutboxReader
from neural.tracking.agent.send.sender import Sender
from neural.tracking.agent.session_view import SessionView
from neural.tracking.core.config import AgentConfig
from neural.tracking.core.warn import warn
from neural.tracking.errors import ConfigError
from neural.tracking.state.paths import State
from neural.tracking.state.tombstones import Tombstones

if TYPE_CHECKING:
    from neural.tracking.agent.send.protocol import SenderProtocol
    from neural.tracking.formats import wire

STOP_SHARE = 0.02  # part of a close's time that is reserved for stopping the sender
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)


def open_session(
    run: RunIdentity,
    base_dir: Path | str,
    *,
    config: AgentConfig | None = None,
    open_event: Mapping[str, Any] | None = None,
    first_step: int = 0,
) -> Session:
    """Open a session of ``run`` and start its sender; do not wait for a collector.

    Args:
        run: the result of :func:`choose_run`; the code that created the run's folder may have changed it.
        base_dir: the folder of the runs.
        config: mode, limits, and what to do when the outbox is full.
        open_event: tags, notes, group, settings; kept in the session's first event.
        first_step: the step of the first metrics call without a step.

    Raises:
        OSError: the outbox cannot be created. A full disk does not raise: it gives one warning, then events
            are counted as a gap, and the sender tries again every 5 s.
        ConfigError: the state folder cannot be used, for one because it belongs to another user.

    Blocks: some milliseconds on the disk, to create the outbox.
    """
    if run.after is None:
        run = run._replace(after=Tombstones(State.for_base_dir(base_dir).tombstones).newest(run.uid))
    return Session(run, base_dir, config or AgentConfig(), open_event or {}, first_step)


class Session(SessionView):
    """Emits events into one run; safe for any number of threads. Created by :func:`open_session`.

    ``emit_metrics`` is the emitter's own method, so that a call goes directly to the hot path. It remains
    valid for the life of the object, also in a forked child.
    """

    def __init__(
        self,
        run: RunIdentity,
        base_dir: Path | str,
        config: AgentConfig,
        open_event: Mapping[str, Any],
        first_step: int = 0,
        *,
        lazily: bool = False,
    ) -> None:
        self.run = run
        self.base_dir = Path(os.path.abspath(base_dir))
        self.config = config
        self.state_folder = State.for_base_dir(self.base_dir)
        self._open_event = dict(open_event)
        self._emitter = Emitter(os.urandom(16))
        self.emit_metrics = self._emitter.emit_metrics
        self._reset(first_step)
        if lazily:
            process_hooks.remember(self)  # one thread may open it while another one forks
        else:
            self._open(may_raise=True)

    def _reset(self, first_step: int) -> None:
        """Set the state of a new session without events, in the constructor and in a forked child."""
        self.id = os.urandom(16)
        self._pid = os.getpid()
        self._opened_ns = time.time_ns()
        self._opening = threading.RLock()
        self._opened = self._closed = self._warned_closed = False
        self._requested_end: tuple[str, str | None] | None = None  # the first one counts, also at exit
        self._outbox: Outbox | None = None
        self._sender: Sender | None = None
        self._delivery = DeliveryState()
        self._emitter.__init__(  # type: ignore[misc]  # in place: callers hold its bound method
            self.id,
            first_step,
            when_full=self.config.when_full,
            block_timeout_s=self.config.block_timeout_s,
        )
        self._emitter.on_no_outbox = self._open_late

    # Emitting. emit_metrics is set by the constructor.

    def emit(self, kind: str, data: Mapping[str, Any], *, step: int | None = None) -> bool:
        """Emit an event of another kind than metrics; return whether it is in the outbox.

        Blocks as ``emit_metrics``: only if ``when_full="block"`` and the outbox is full.

        Raises:
            PayloadTooLargeError: over 256 KiB once packed.
            TypeError, ValueError: the kind or a key is reserved, ``data`` cannot be packed, or a bad step.
        """
        return self._emitter.emit(kind, data, step)

    def open_now(self) -> None:
        """Open a session of a child or an unpickled one before its first event. Never raises for the disk."""
        if not self._opened:
            self._open_late()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until all events so far are on disk and visible in the run folder; return whether they are.

        Blocks for ``timeout_s`` seconds at most. Returns False early if no collector can start with the present
        settings; in offline mode it waits, since another process may start one.
        """
        deadline = time.monotonic() + timeout_s
        self._emitter.write_deferred()
        self._emitter.write_gap()
        if self._sender is None or not self._opened or self._pid != os.getpid():
            return self.emitted == 0
        if self._closed:
            return self._delivery.closed.is_set()
        if not self._sender.runs:
            return False
        request = self._delivery.ask(self.emitted)
        self._sender.wake.set()
        try:
            left = max(0.0, deadline - time.monotonic())
            return shutdown.await_visible(request, self._sender, left) and not self._delivery.deleted
        finally:
            self._delivery.forget(request)

    def close(
        self, status: str = "completed", error: str | None = None, timeout_s: float | None = None
    ) -> bool:
        """Emit the end, wait for delivery, and release the outbox; return whether everything is stored.

        Events that are not delivered in time remain in the outbox, and a collector adopts it.

        Args:
            status: ``"completed"`` or ``"failed"``.
            error: a traceback.
            timeout_s: seconds; default 5, and 60 if a collector cannot outlive this process.

        Blocks for ``timeout_s`` at most; a sender that does not stop may delay it by one more second.
        """
        timeout_s = process_hooks.default_timeout_s() if timeout_s is None else timeout_s
        deadline = time.monotonic() + timeout_s
        with self._opening:
            if self._closed or self._sender is None or self._pid != os.getpid():
                self._closed = self._emitter.closed = True
                return self.flush(0.0)
            self._requested_end = status, error = self._requested_end or (status, error)
            if not self._emitter.end("end", {"status": status, "error": error}):
                return False  # a signal handler interrupted a log call, which must finish first
            self._closed = True
        self._emitter.on_no_outbox = self._warn_closed
        emitted = self.emitted
        # Offline, no collector is started, so waiting makes sense only if one already runs.
        reachable = self.config.mode == "online" or collector_target.is_open(
            self.config, self.state_folder, self._delivery
        )
        delivered_by = deadline - STOP_SHARE * timeout_s
        stored = (
            reachable
            and self._sender.runs
            and shutdown.deliver(self._delivery, self._sender, self.run.name, emitted, delivered_by)
        )
        self._release(self._sender, deadline)
        shutdown.summarise(self.run.name, emitted, self.gaps)
        return stored

    def _release(self, sender: Sender, deadline: float) -> None:
        """Stop the sender and release the outbox: delete it, or leave it unlocked for a collector.

        This holds also if the run was removed: the adopter records what the outbox held.
        """
        process_hooks.forget(self)
        self._emitter.on_roll = process_hooks.do_nothing
        ended = sender.stop(max(1.0, deadline - time.monotonic()))
        delivered = self._delivery.closed.is_set()
        stream = self._delivery.stream
        if ended and self._outbox is not None and stream is not None:
            self._emitter.detach()
            self._outbox.close(stream.segments, delete=delivered)
        if self.config.mode == "online" and not (
            delivered and collector_target.is_spool_empty(self.config, self.spool)
        ):
            shutdown.start_helper(self.config, self.state_folder)

    # Opening, in this process and in others.

    def _open(self, *, may_raise: bool) -> None:
        if self.config.mode == "disabled":
            self._opened = self._emitter.closed = True
            return
        self._opened = True
        process_hooks.remember(self)
        try:
            self.state_folder.make()
            self._make_outbox()
        except (OSError, ConfigError) as error:
            if may_raise and getattr(error, "errno", None) not in NO_ROOM:
                self._closed = True
                process_hooks.forget(self)
                raise
            warn(
                "no outbox for run %s; its events are counted as a gap until there is one: %s",
                self.run.name,
                error,
            )
        else:
            self._emit_open()
        route = collector_target.route(self.config, self.state_folder, self._delivery)
        self._sender = Sender(self._emitter, self._delivery, self._make_protocol, self._make_late, route)
        self._emitter.on_roll = self._sender.wake.set
        try:
            self._sender.start()
        except RuntimeError:  # no thread can start: events wait in the outbox, and close() starts a helper
            pass

    def _open_late(self) -> None:
        """Open at the first event, in a child or after unpickling. Never raises for the disk."""
        with self._opening:
            if not self._opened and not self._closed:
                self._open(may_raise=False)

    def _make_outbox(self) -> None:
        limit = self.config.outbox_limit_bytes if self.config.mode == "online" else None
        removed, stream = self._outbox, self._delivery.stream
        self._outbox = Outbox.create(self.outboxes, self.id, self.uid, self._info(), limit)
        self._emitter.attach(self._outbox)
        if removed is None or stream is None:
            self._delivery.stream = OutboxReader(self._emitter, self._outbox)
            return
        warn("the outbox of run %s was removed; the run continues in a new one", self.run.name)
        stream.move(self._outbox)
        removed.leave()

    def _make_late(self) -> None:
        """Create the outbox for which there was no room, or that was removed; called by the sender."""
        first = self._outbox is None
        try:
            self.state_folder.make()
            self._make_outbox()
        except (OSError, ConfigError):
            return
        if first:
            self._emit_open()

    def _emit_open(self) -> None:
        described = session_info.open_event(self.run, self._opened_ns)
        self._emitter.emit("open", {**self._open_event, **described})

    def _info(self) -> dict[str, Any]:
        settings = self._open_event.get("settings") or {}
        return session_info.info(self.run, self.base_dir, self.config, self._opened_ns, settings)

    def _hello(self) -> wire.Hello:
        return session_info.hello(self.run, self.id, self._info())

    def _make_protocol(self) -> SenderProtocol:
        hello, records = self._hello, self._emitter.schemas.records
        return collector_target.make_protocol(self.config, self._delivery, self.id, hello, records)

    def _warn_closed(self) -> None:
        if not self._warned_closed:
            self._warned_closed = True
            warn("run %s is closed: events that are emitted now are not kept", self.run.name)

    def _become_child(self) -> None:
        """Drop the inherited state in a forked child, whose first event opens a session of its own."""
        outbox, stream, closed = self._outbox, self._delivery.stream, self._closed
        self.run = self.run._replace(role="child")
        self._reset(0)
        if outbox is not None:
            process_hooks.leave_to_parent(outbox, list(stream.live) if stream else [outbox.first])
        self._closed = self._emitter.closed = closed

    def __reduce__(self) -> tuple[Any, ...]:
        run = self.run._replace(role="child")
        return _unpickled, (run, self.base_dir, self.config, self._open_event)


def _unpickled(run: RunIdentity, base_dir: Path, config: AgentConfig, open_event: dict[str, Any]) -> Session:
    """Return a session of the same run for the process that unpickles it; its first event opens it."""
    return Session(run, base_dir, config, open_event, lazily=True)
