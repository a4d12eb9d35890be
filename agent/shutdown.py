"""The end of a session, one step after the other, all before one deadline."""

from __future__ import annotations

import time

from neural.tracking.agent import collector_target
from neural.tracking.agent.send.delivery_state import DeliveryState, Request
from neural.tracking.agent.send.launcher import launch
from neural.tracking.agent.send.sender import Sender
from neural.tracking.core.config import AgentConfig
from neural.tracking.core.warn import warn
from neural.tracking.state.paths import State

CHECK_S = 0.2  # between two looks whether a collector can come at all
BYE_S = 0.5  # of a close's time, kept for telling the collector
SILENT_S, SHORT_S = 4.0, 3.0  # nobody is told of a wait before it took so long, or where so little is left


def deliver(delivery: DeliveryState, sender: Sender, run_name: str, emitted: int, deadline: float) -> bool:
    """Wait until everything is visible, tell the collector that it is all; return whether both happened."""
    request = delivery.ask(emitted)
    sender.wake.set()
    left = max(0.0, deadline - time.monotonic())
    if left > SILENT_S + SHORT_S and not await_visible(request, sender, SILENT_S):
        left -= SILENT_S
        if sender.hopeless:
            return False  # why was said already
        text = "run %s: storing its last events, at most %d s more; they are safe in its outbox meanwhile"
        warn(text, run_name, left)
    visible = await_visible(request, sender, max(left - BYE_S, left / 2))
    if not visible and sender.hopeless:
        return False
    if delivery.deleted:
        return False
    delivery.bye = emitted  # only now: a collector that heard it answers no more
    sender.wake.set()
    closed = delivery.closed.wait(max(0.0, deadline - time.monotonic()))
    return visible and closed


def await_visible(request: Request, sender: Sender, timeout_s: float) -> bool:
    """Wait until what was asked for is visible; no longer than somebody may come who makes it so."""
    until = time.monotonic() + timeout_s
    while not request.done.wait(max(0.0, min(CHECK_S, until - time.monotonic()))):
        if sender.hopeless or time.monotonic() >= until:
            return request.done.is_set()
    return True


def start_helper(config: AgentConfig, state: State) -> None:
    """Leave a helper behind for an outbox that is not empty: a collector, or a courier to another host's."""
    try:
        launch(collector_target.helper(config, state))
    except (OSError, RuntimeError) as error:  # the latter: an isolated part of an interpreter may not fork
        who = "collector" if config.collector is None else "courier"
        warn(
            "no %s could be started, events wait in %s: %s",
            who,
            collector_target.outboxes(config, state),
            error,
        )


def summarise(run_name: str, emitted: int, gaps: list[tuple[int, int, str]]) -> None:
    """Tell what was lost, if anything was."""
    if gaps:
        total = sum(last - first + 1 for first, last, _ in gaps)
        reasons = ", ".join(sorted({reason for _, _, reason in gaps}))
        warn("%d of %d events of run %s were not kept: %s", total, emitted, run_name, reasons)
