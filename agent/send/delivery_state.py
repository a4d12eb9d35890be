"""What a session's callers and its sender tell each other: plain attributes, no lock.

Each attribute has one side that sets it. Kept apart from the sender's code, so that the trainer's
thread imports none of that.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neural.tracking.agent.send.outbox_reader import OutboxReader
    from neural.tracking.core.process_end import Death


class Request:
    """Somebody waits until the run folder holds everything up to ``seq``."""

    def __init__(self, seq: int, token: int) -> None:
        self.seq = seq
        self.token = token
        self.sent = False
        self.done = threading.Event()


class DeliveryState:
    """Set by callers: ``requests``, ``bye``. Set by the sender: all else."""

    def __init__(self) -> None:
        self.requests: dict[int, Request] = {}
        self.bye: int | None = None  # the session's total, once nothing follows
        self.death: Death | None = None  # how the process ended whose session it was, told with the bye
        self.stream: OutboxReader | None = None  # once there is an outbox
        self.status = "connecting"
        self.problem = ""  # what keeps it from connecting, where that is known
        self.lost: list[tuple[int, int, str]] = []  # told to the collector as gaps
        self.deleted = False  # the run was deleted: nothing is to be sent any more
        self.closed = threading.Event()  # the collector has the session's end on disk
        self._token = 0

    def ask(self, seq: int) -> Request:
        """Ask to be told when the run folder holds everything up to ``seq``."""
        self._token += 1
        request = self.requests[self._token] = Request(seq, self._token)
        if self.deleted:
            request.done.set()
        return request

    def give_up(self) -> None:
        """The run was deleted: end all waits, now and later; ``deleted`` says that they are not granted."""
        self.deleted = True
        for request in list(self.requests.values()):
            request.done.set()

    def forget(self, request: Request) -> None:
        """Nobody waits for it any more."""
        self.requests.pop(request.token, None)
