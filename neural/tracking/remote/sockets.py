"""Options of ZeroMQ sockets to other hosts: keys, monitored events, detection of dead connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zmq

from neural.tracking.core.address import is_ipv6

if TYPE_CHECKING:
    from neural.tracking.remote.keys import Security

UP, DOWN = zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_DISCONNECTED
REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
BROKEN = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
KEEPALIVE_IDLE_S, KEEPALIVE_EVERY_S, KEEPALIVE_PROBES = 10, 5, 4
UNANSWERED_MS = 30_000  # the limit for sent data without an answer; longer than any stall of a slow line


def notice_dead_peers(socket: zmq.Socket[bytes]) -> None:
    """Make the kernel close TCP connections that are dead for 30 s; call it before bind or connect.

    ZeroMQ's own heartbeats are not used: if a peer disconnects while the queue is full, their timer triggers an
    assertion of libzmq (4.3.5, its issue 4841), which aborts the whole process, the collector or a training.
    """
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_EVERY_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, KEEPALIVE_PROBES)
    socket.setsockopt(zmq.TCP_MAXRT, UNANSWERED_MS)


def secure(socket: zmq.Socket[bytes], security: Security, address: str) -> None:
    """Set the keys of both ends, and IPv6 if needed; call it before connecting to ``address``."""
    socket.setsockopt(zmq.CURVE_SERVERKEY, security.collector)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, security.pair.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, security.pair.secret)
    socket.setsockopt(zmq.IPV6, int(is_ipv6(address)))
