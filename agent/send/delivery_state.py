"""The state that a session's callers and its sender share: plain attributes, no lock.

Only one side sets each attribute. This module is separate from the sender's code, so that the training thread
does not import that code.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neural.tracking.agent.send.outbox_reader import OutboxReader
    from neural.tracking.core.process_end import Death


class Request:
    """A caller's request: ``done`` is set when the run folder holds everything up to ``seq``."""

    def __init__(self, seq: int, token: int) -> None:
        self.seq = seq
        self.token = token
        self.sent = False
        self.done = threading.Event()


class DeliveryState:
    """Callers set ``requests`` and ``bye``; the sender sets everything else. No method blocks."""

    def __init__(self) -> None:
        self.requests: dict[int, Request] = {}
        self.bye: int | None = None  # the session's last number, once nothing follows
        self.death: Death | None = None  # how the session's process ended; sent before BYE
        self.stream: OutboxReader | None = None  # None until there is an outbox
        self.status = "connecting"
        self.problem = ""  # why it cannot connect, if that is known
        self.lost: list[tuple[int, int, str]] = []  # reported to the collector as gaps
        self.deleted = False  # the run was deleted: nothing may be sent any more
        self.closed = threading.Event()  # the collector has the session's end on disk
        self._token = 0

    def ask(self, seq: int) -> Request:
        """Return a new request for everything up to ``seq``; it is done at once if the run was deleted."""
        self._token += 1
        request = self.requests[self._token] = Request(seq, self._token)
        if self.deleted:
            request.done.set()
        return request

    def give_up(self) -> None:
        """Mark the run as deleted, and end all waits; ``deleted`` shows that the requests are not fulfilled."""
        self.deleted = True
        for request in list(self.requests.values()):
            request.done.set()

    def forget(self, request: Request) -> None:
        """Remove a request for which nobody waits any more."""
        self.requests.pop(request.token, None)
