"""The steps that end a session, all before one deadline."""

from __future__ import annotations

import time

from neural.tracking.agent import collector_target
from neural.tracking.agent.send.delivery_state import DeliveryState, Request
from neural.tracking.agent.send.launcher import launch
from neural.tracking.agent.send.sender import Sender
from neural.tracking.core.config import AgentConfig
from neural.tracking.core.warn import warn
from neural.tracking.state.paths import State

CHECK_S = 0.2  # between two checks whether a collector can be reached at all
BYE_S = 0.5  # part of a close's time that is reserved for BYE
SILENT_S, SHORT_S = 4.0, 3.0  # a wait is reported only after SILENT_S, and if more than SHORT_S remains


def deliver(delivery: DeliveryState, sender: Sender, run_name: str, emitted: int, deadline: float) -> bool:
    """Wait until all events are visible, then send BYE; return whether both succeeded.

    Blocks until ``deadline`` (of ``time.monotonic``) at most, and stops early if no collector can be reached.
    """
    request = delivery.ask(emitted)
    sender.wake.set()
    left = max(0.0, deadline - time.monotonic())
    if left > SILENT_S + SHORT_S and not await_visible(request, sender, SILENT_S):
        left -= SILENT_S
        if sender.hopeless:
            return False  # a warning has already given the reason
        text = "run %s: storing its last events, at most %d s more; they are safe in its outbox meanwhile"
        warn(text, run_name, left)
    visible = await_visible(request, sender, max(left - BYE_S, left / 2))
    if not visible and sender.hopeless:
        return False
    if delivery.deleted:
        return False
    delivery.bye = emitted  # only now: after BYE a collector answers no more barriers
    sender.wake.set()
    closed = delivery.closed.wait(max(0.0, deadline - time.monotonic()))
    return visible and closed


def await_visible(request: Request, sender: Sender, timeout_s: float) -> bool:
    """Wait until a request is done; return whether it is.

    Blocks for ``timeout_s`` seconds at most, and stops early if no collector can be reached.
    """
    until = time.monotonic() + timeout_s
    while not request.done.wait(max(0.0, min(CHECK_S, until - time.monotonic()))):
        if sender.hopeless or time.monotonic() >= until:
            return request.done.is_set()
    return True


def start_helper(config: AgentConfig, state: State) -> None:
    """Start the helper that delivers a non-empty outbox: a collector, or a courier to a remote collector.

    Does not wait for the helper. A failure to start it gives a warning.
    """
    try:
        launch(collector_target.helper(config, state))
    except (OSError, RuntimeError) as error:  # RuntimeError: a subinterpreter may not fork
        who = "collector" if config.collector is None else "courier"
        warn(
            "no %s could be started; events wait in %s: %s",
            who,
            collector_target.outboxes(config, state),
            error,
        )


def summarise(run_name: str, emitted: int, gaps: list[tuple[int, int, str]]) -> None:
    """Warn of the events that were lost, if there are any."""
    if gaps:
        total = sum(last - first + 1 for first, last, _ in gaps)
        reasons = ", ".join(sorted({reason for _, _, reason in gaps}))
        warn("%d of %d events of run %s were not kept: %s", total, emitted, run_name, reasons)
