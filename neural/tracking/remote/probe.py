"""Tests whether a collector on another host can be reached with this user's keys."""

from __future__ import annotations

import time
from typing import NamedTuple

import zmq
from zmq.utils.monitor import recv_monitor_message

from neural.tracking.errors import ProtocolError
from neural.tracking.formats import wire
from neural.tracking.remote.keys import Security
from neural.tracking.remote.sockets import BROKEN, REFUSED, secure

POLL_MS = 50


class Reached(NamedTuple):
    """The result of a probe. ``how``: ``answers``, ``refused``, ``wrong key`` or ``unreachable``.

    The other fields are set only if the collector answers.
    """

    how: str
    version: str = ""
    round_trip_s: float = 0.0
    ahead_s: float = 0.0  # how far the collector's clock is ahead of ours
    uploads: int = 0  # the port for artifacts, 0 for none


def reach(address: str, security: Security, timeout_s: float = 3.0) -> Reached:
    """Send one ping to the collector and return the result. Blocks for ``timeout_s`` seconds at most."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        secure(socket, security, address)
        monitor = socket.get_monitor_socket(REFUSED | BROKEN)
        try:
            socket.connect(address)
            return _ask(socket, monitor, time.monotonic() + timeout_s)
        finally:
            socket.disable_monitor()
            monitor.close(0)


def _ask(socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes], deadline: float) -> Reached:
    ping = wire.Ping(session=bytes(16)).encode()
    asked_s, asked_ns = 0.0, 0
    broken = 0
    while time.monotonic() < deadline:
        if not asked_s and socket.poll(0, zmq.POLLOUT):
            asked_s, asked_ns = time.monotonic(), time.time_ns()
            socket.send_multipart(ping)
        while monitor.poll(0):
            event = recv_monitor_message(monitor)["event"]
            if event & REFUSED:
                return Reached("refused")
            broken += 1
        if socket.poll(POLL_MS):
            took_s = time.monotonic() - asked_s
            try:
                answer = wire.decode(socket.recv_multipart())
            except ProtocolError:
                continue
            if isinstance(answer, wire.Pong):
                ahead_s = (answer.time_ns - asked_ns) / 1e9 - took_s / 2
                return Reached("answers", answer.version, took_s, ahead_s, answer.uploads)
    # One broken handshake is also what a collector causes that dies meanwhile.
    return Reached("wrong key" if broken > 1 else "unreachable")
