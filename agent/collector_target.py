"""Chooses what depends on the collector's host (this one or another): folders, route, protocol, helper."""

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
    """Return the folder of a session's outbox: a separate one if the collector is remote, so that the local
    collector does not adopt it.
    """
    return state.outbox if config.collector is None else state.remote_outbox


def spool(config: AgentConfig, state: State) -> Path:
    """Return the folder in which snapshots of artifacts wait."""
    return state.spool if config.collector is None else state.remote_spool


def is_spool_empty(config: AgentConfig, spooled: Path) -> bool:
    """Return whether no artifact waits for a courier. Always True for a collector on this host, which reads
    the spool itself.
    """
    if config.collector is None or not spooled.is_dir():
        return True
    from neural.tracking.state.spool import waiting

    return not waiting(spooled)


def helper(config: AgentConfig, state: State) -> Helper:
    """Return the helper process that delivers after the session's process has ended."""
    return collector_of(state) if config.collector is None else courier_of(state)


def route(config: AgentConfig, state: State, delivery: DeliveryState) -> Route:
    """Return the route to the collector."""
    launches = config.mode == "online"
    if config.collector is None:
        return LocalRoute(state, launches=launches)
    from neural.tracking.agent.send.remote_route import RemoteRoute

    return RemoteRoute(
        config.collector, delivery, state.remote_outbox, CourierStarter(state) if launches else None
    )


def is_open(config: AgentConfig, state: State, delivery: DeliveryState) -> bool:
    """Return whether a collector already runs on this host, or the remote one is connected."""
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
    """Return the protocol state of a session. Call it on the sender's thread: its imports are slow."""
    from neural.tracking.agent.send.congestion import CongestionWindow
    from neural.tracking.agent.send.protocol import SenderProtocol

    pace = None if config.collector is None else CongestionWindow()
    return SenderProtocol(delivery, session, hello, records, pace)
