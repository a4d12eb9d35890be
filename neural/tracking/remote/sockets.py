"""Options of ZeroMQ sockets to other hosts: keys, what is told of a connection, and how its end is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zmq

from neural.tracking.core.address import is_ipv6

if TYPE_CHECKING:
    from neural.tracking.remote.keys import Security

UP, DOWN = zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_DISCONNECTED
REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
BROKEN = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
QUIET_S, ASK_EVERY_S, ASKED_TIMES = 10, 5, 4
UNANSWERED_MS = 30_000  # for what was sent, too; longer than a slow line keeps its window shut


def notice_dead_peers(socket: zmq.Socket[bytes]) -> None:
    """Let the kernel end TCP connections that are dead for 30 s; called before bind or connect.

    Not ZeroMQ's own heartbeats: when a peer hangs up whose last messages found the queue full, their
    timer runs into an assertion of libzmq (4.3.5, its issue 4841), which aborts the whole process: the
    collector, or a training.
    """
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, QUIET_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, ASK_EVERY_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, ASKED_TIMES)
    socket.setsockopt(zmq.TCP_MAXRT, UNANSWERED_MS)


def secure(socket: zmq.Socket[bytes], security: Security, address: str) -> None:
    """Set the keys of both ends; called before connecting to ``address``."""
    socket.setsockopt(zmq.CURVE_SERVERKEY, security.collector)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, security.pair.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, security.pair.secret)
    socket.setsockopt(zmq.IPV6, int(is_ipv6(address)))
