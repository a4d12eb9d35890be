"""What depends on whether the collector is this host's or another's: outboxes, the way there, the talk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from neural.tracking.agent.send.delivery_state import DeliveryState
from neural.tracking.agent.send.launcher import Helper, collector_of, courier_of
from neural.tracking.agent.send.local_route import CourierStarter, LocalRoute, Route
from neural.tracking.core.config import AgentConfig
from neural.tracking.state.paths import State

if TYPE_CHECKING:
    from neural.tracking.agent.send.protocol import SenderProtocol
    from neural.tracking.formats import wire


def outboxes(config: AgentConfig, state: State) -> Path:
    """Return the folder a session's outbox is in: what goes elsewhere no collector here may adopt."""
    return state.outbox if config.collector is None else state.remote_outbox


def spool(config: AgentConfig, state: State) -> Path:
    """Return the folder that snapshots of artifacts wait in."""
    return state.spool if config.collector is None else state.remote_spool


def is_spool_empty(config: AgentConfig, spooled: Path) -> bool:
    """Return whether no artifact waits for somebody to send it; a collector of this host sees to its own."""
    if config.collector is None or not spooled.is_dir():
        return True
    from neural.tracking.state.spool import waiting

    return not waiting(spooled)


def helper(config: AgentConfig, state: State) -> Helper:
    """Return who delivers once the session's process is gone."""
    return collector_of(state) if config.collector is None else courier_of(state)


def route(config: AgentConfig, state: State, delivery: DeliveryState) -> Route:
    """Return the way to the collector."""
    launches = config.mode == "online"
    if config.collector is None:
        return LocalRoute(state, launches=launches)
    from neural.tracking.agent.send.remote_route import RemoteRoute

    return RemoteRoute(
        config.collector, delivery, state.remote_outbox, CourierStarter(state) if launches else None
    )


def is_open(config: AgentConfig, state: State, delivery: DeliveryState) -> bool:
    """Return whether a collector is there without anybody having started it."""
    if config.collector is None:
        return state.collector_runs()
    return delivery.status == "connected"


def make_protocol(
    config: AgentConfig,
    delivery: DeliveryState,
    session: bytes,
    hello: Callable[[], wire.Hello],
    records: list[bytes],
) -> SenderProtocol:
    """Return a talk with the collector; for the sender's thread, which imports what it takes."""
    from neural.tracking.agent.send.congestion import CongestionWindow
    from neural.tracking.agent.send.protocol import SenderProtocol

    pace = None if config.collector is None else CongestionWindow()
    return SenderProtocol(delivery, session, hello, records, pace)
