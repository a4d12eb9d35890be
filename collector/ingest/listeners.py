"""The sockets that senders connect to: one for this host, and, if configured, one for other hosts.

They are two sockets, so that a message of another host is never taken for one of this host. The socket of this
host has no keys and is a file that only its user can open. The other socket accepts nobody without an allowed
key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import zmq

from neural.tracking.collector.ingest.authenticator import ZAP_DOMAIN, Authenticator
from neural.tracking.collector.ingest.router import Peer, Router
from neural.tracking.errors import ConfigError
from neural.tracking.formats import wire
from neural.tracking.remote import keys
from neural.tracking.state.paths import State

logger = logging.getLogger(__name__)


class Listeners:
    """Opened and closed by the inbox.

    Args:
        listen: the address to listen on for other hosts; None for none.
        pair: the collector's key pair; given if ``listen`` is.
        upload_port: returns the port for artifacts of other hosts, 0 if there is none.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        state: State,
        authenticator: Authenticator,
        listen: str | None,
        pair: keys.Pair | None,
        upload_port: Callable[[], int],
    ) -> None:
        self.routers: list[Router] = []
        self.upload_port = upload_port
        self._context, self._authenticator = context, authenticator
        self._addresses = [f"ipc://{state.data_socket}", *([listen] if listen else [])]
        self._pair = pair

    def open(self) -> None:
        """Bind all sockets. Never blocks.

        Raises:
            zmq.ZMQError: this host's own address cannot be bound.
            ConfigError: the address for other hosts cannot be bound.
        """
        for address in self._addresses:
            router = Router(self._context, max_part_bytes=wire.MAX_PART_BYTES)
            self.routers.append(router)
            if len(self.routers) > 1:
                assert self._pair is not None, "nothing listens to other hosts without keys"
                router.secure(self._pair, ZAP_DOMAIN)
            self._bind(router, address)
        if remote := self.remote_address:
            self._addresses[1] = remote  # with the port that was chosen: rebind() uses the same
            logger.info("listening to other hosts on %s as %s", remote, self._pair)

    @property
    def remote_address(self) -> str | None:
        """The address on which it listens to other hosts, None if there is none. Never blocks."""
        return self.routers[1].address or None if len(self.routers) > 1 else None

    def unbind(self) -> None:
        """Accept no new connections; existing connections stay. Never blocks."""
        for router in self.routers:
            router.unbind()

    def rebind(self) -> None:
        """Accept connections again. Never blocks; raises as :meth:`open`."""
        for router, address in zip(self.routers, self._addresses, strict=True):
            self._bind(router, address)

    def close(self) -> None:
        """Close all sockets; safe to call twice. Never blocks."""
        for router in self.routers:
            router.close()

    def name_of(self, peer: Peer) -> str | None:
        """Return the name under which a peer of another host is allowed; None if it is not; "" for this host.

        Blocks briefly on the disk.
        """
        return self._authenticator.name_of(peer.key) if peer.router is not self.routers[0] else ""

    def _bind(self, router: Router, address: str) -> None:
        try:
            router.bind(address)
        except zmq.ZMQError as error:
            if router is self.routers[0]:
                raise
            raise ConfigError(f"cannot listen on {address}: {error.strerror}") from error
