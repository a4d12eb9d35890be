"""How the end of a connection is noticed whose other end is gone without a word: a cable, a host."""

from __future__ import annotations

import zmq

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
