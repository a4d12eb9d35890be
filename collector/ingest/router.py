"""A ROUTER socket on the event loop: no thread, no blocking call, and the peer of each message.

ZeroMQ's descriptor is edge-triggered: after *any* call on the socket its signal may be used up. So the state of
the socket must be checked before each wait: :meth:`Router.readable` reads it first, and every send wakes it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import NamedTuple

import zmq

from neural.tracking.core.address import is_ipv6
from neural.tracking.remote.keys import Pair
from neural.tracking.remote.sockets import notice_dead_peers

HIGH_WATER_MARK = 128
BACKLOG = 1024  # a whole cluster may connect at the same moment
HANDSHAKE_MS = 10_000  # a peer that connects and sends nothing is dropped after this


class Router:
    """One bound ROUTER socket. Only the event loop's thread may use it, and nothing here blocks."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], *, max_part_bytes: int) -> None:
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, max_part_bytes)
        self._socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # a send to an unknown peer is an error, not ignored
        notice_dead_peers(self._socket)
        fd = self._socket.getsockopt(zmq.FD)
        assert isinstance(fd, int)
        self._fd = fd
        self._signal = asyncio.Event()
        self._address = ""

    def secure(self, pair: Pair, domain: bytes) -> None:
        """Admit only peers that prove a key which the ZAP handler allows; without a handler, admit none."""
        for option, value in (
            (zmq.CURVE_SERVER, 1),
            (zmq.CURVE_SECRETKEY, pair.secret),
            (zmq.ZAP_DOMAIN, domain),
            (zmq.ZAP_ENFORCE_DOMAIN, 1),  # otherwise ZeroMQ admits everybody if no handler answers
            (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
            (zmq.BACKLOG, BACKLOG),
        ):
            self._socket.setsockopt(option, value)

    def bind(self, address: str) -> None:
        """Listen on the address; a socket file is accessible to its user only.

        Raises:
            zmq.ZMQError: the address cannot be bound.
        """
        self._socket.setsockopt(zmq.IPV6, is_ipv6(address))
        before = os.umask(0o077)
        try:
            self._socket.bind(address)
        finally:
            os.umask(before)
        bound = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        self._address = bound.rstrip(b"\0").decode() if isinstance(bound, bytes) else address
        asyncio.get_running_loop().add_reader(self._fd, self._signal.set)

    @property
    def address(self) -> str:
        """The address that it listens on, with the port that the system chose; empty if there is none."""
        return self._address

    def unbind(self) -> None:
        """Stop listening; existing connections stay."""
        if self._address:
            self._socket.unbind(self._address)
            self._address = ""

    def close(self) -> None:
        """Close the socket; safe to call twice."""
        if not self._socket.closed:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._socket.close()

    async def readable(self) -> None:
        """Wait until a message may be there."""
        while not self._has_message():
            self._signal.clear()
            if self._has_message():
                return
            await self._signal.wait()

    def _has_message(self) -> bool:
        events = self._socket.getsockopt(zmq.EVENTS)
        return isinstance(events, int) and bool(events & zmq.POLLIN)

    def receive(self) -> list[bytes] | None:
        """Return the parts of the next message, the sender's identity first; None if there is none."""
        try:
            return self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def receive_from(self) -> tuple[Peer, list[bytes]] | None:
        """Return the peer that sent the next message, and the message's parts; None if there is none."""
        try:
            frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            parts = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        try:
            key = frame.get("User-Id")
        except zmq.ZMQError:  # this socket asks for no key
            key = ""
        return Peer(self, frame.bytes, str(key)), parts

    def send(self, identity: bytes, parts: Sequence[bytes]) -> bool:
        """Queue a message if its receiver is connected and not behind; return whether it was queued."""
        try:
            self._socket.send_multipart([identity, *parts], zmq.NOBLOCK)
        except zmq.ZMQError:  # the peer is gone, or its queue is full; it asks again if it misses an answer
            return False
        finally:
            self._signal.set()
        return True


class Peer(NamedTuple):
    """A connection that sent a message, and to which the answer goes; a peer of another host showed ``key``."""

    router: Router
    identity: bytes
    key: str

    def send(self, parts: Sequence[bytes]) -> bool:
        """Send an answer; see :meth:`Router.send`. Never blocks."""
        return self.router.send(self.identity, parts)
