"""The ZeroMQ socket of one sender; only the sender's thread imports and uses it.

A connection to another host is encrypted, and each end proves its key (CURVE). It is also monitored, because
ZeroMQ itself does not report a wrong key.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator

import zmq

from neural.tracking.core import os_support
from neural.tracking.errors import ProtocolError
from neural.tracking.formats import wire
from neural.tracking.remote.keys import Security
from neural.tracking.remote.sockets import BROKEN, DOWN, REFUSED, UP, notice_dead_peers, secure

DESCRIPTORS = 24  # of context, its threads, socket, connection, monitor; and some for other code
HIGH_WATER_MARK = 64
RECONNECT_MS, RECONNECT_MAX_MS = 50, 1000
CONNECT_TIMEOUT_MS = 5000


def _poller() -> zmq.Poller:
    """Return a poller; gevent's if it has patched threads, since ZeroMQ's would block the whole program."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return zmq.Poller()
    from zmq.green.poll import _Poller

    return _Poller()


class Dealer:
    """A DEALER socket connected to one endpoint, with a context of its own; encrypted if ``security`` is given.

    Raises:
        OSError: too few file descriptors are left.
    """

    def __init__(
        self,
        endpoint: str,
        security: Security | None = None,
        decode: Callable[[list[bytes]], wire.Message] = wire.decode,
    ) -> None:
        self.endpoint = endpoint
        self._decode = decode
        self.invalid_total = 0
        self.is_up = False  # as of the last connection_events(); always False without security
        os_support.check_descriptors(DESCRIPTORS)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.IMMEDIATE, 1),  # queue nothing for a peer that is not connected
            (zmq.SNDHWM, HIGH_WATER_MARK),
            (zmq.RCVHWM, HIGH_WATER_MARK),
            (zmq.MAXMSGSIZE, wire.MAX_PART_BYTES),
            (zmq.RECONNECT_IVL, RECONNECT_MS),
            (zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS),
        ):
            self._socket.setsockopt(option, value)
        notice_dead_peers(self._socket)
        self._monitor = None if security is None else self._secure(security)
        self._socket.connect(endpoint)
        self._poller = _poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._polled = (-1, False)

    def _secure(self, security: Security) -> zmq.Socket[bytes]:
        """Set the keys; return the monitor socket of the connection."""
        secure(self._socket, security, self.endpoint)
        self._socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS)
        return self._socket.get_monitor_socket(UP | DOWN | REFUSED | BROKEN)

    def connection_events(self) -> Iterator[int]:
        """Yield the connection's changes since the last call: UP, DOWN, REFUSED or BROKEN. Never blocks."""
        while self._monitor is not None and self._monitor.poll(0):
            from zmq.utils.monitor import recv_monitor_message  # brings asyncio with it

            event = int(recv_monitor_message(self._monitor)["event"])
            self.is_up = event == UP
            yield BROKEN if event & BROKEN else event

    def wait(self, fd: int, timeout_s: float, *, for_room: bool) -> bool:
        """Wait for a message, for ``fd``, or with ``for_room`` for room to send; return if ``fd`` is ready.

        Blocks for ``timeout_s`` seconds at most.
        """
        wanted = (fd, for_room)
        if wanted != self._polled:
            self._poller.register(fd, zmq.POLLIN)
            self._poller.modify(self._socket, zmq.POLLIN | (zmq.POLLOUT if for_room else 0))
            self._polled = wanted
        return any(which == fd for which, _ in self._poller.poll(max(0, math.ceil(timeout_s * 1000))))

    def send(self, message: wire.Message) -> bool:
        """Pass a copy of a message to ZeroMQ; return False if it takes none now. Never blocks."""
        try:
            self._socket.send_multipart(message.encode(), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def receive(self) -> Iterator[wire.Message]:
        """Yield the messages that have arrived; count and skip invalid ones. Never blocks."""
        while True:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                yield self._decode(parts)
            except ProtocolError:
                self.invalid_total += 1

    def close(self) -> None:
        """Close socket and context. ZeroMQ drops its messages, which the outbox still has."""
        if self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close(0)
        self._socket.close(0)
        self._context.term()
