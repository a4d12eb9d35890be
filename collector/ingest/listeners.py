"""The sockets that senders come in by: one for this host, and where asked for one for other hosts.

Two sockets, so that nothing of another host can ever be taken for something of this one: the former
has no keys and is a file only its user can open, the latter lets nobody in without an allowed key.
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
        listen: where to listen to other hosts; None for nowhere.
        pair: the key pair to prove to them; given where ``listen`` is.
        upload_port: tells the port for artifacts of other hosts, 0 if none.
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
        """Bind all.

        Raises:
            zmq.ZMQError: this host's own address cannot be had.
            ConfigError: the one for other hosts cannot be had.
        """
        for address in self._addresses:
            router = Router(self._context, max_part_bytes=wire.MAX_PART_BYTES)
            self.routers.append(router)
            if len(self.routers) > 1:
                assert self._pair is not None, "nothing listens to other hosts without keys"
                router.secure(self._pair, ZAP_DOMAIN)
            self._bind(router, address)
        if remote := self.remote_address:
            self._addresses[1] = remote  # with the port that was chosen: the same again after unbind
            logger.info("listening to other hosts on %s as %s", remote, self._pair)

    @property
    def remote_address(self) -> str | None:
        """Where it listens to other hosts, None if nowhere."""
        return self.routers[1].address or None if len(self.routers) > 1 else None

    def unbind(self) -> None:
        """Let nobody new connect; those connected stay."""
        for router in self.routers:
            router.unbind()

    def rebind(self) -> None:
        """Let others connect again."""
        for router, address in zip(self.routers, self._addresses, strict=True):
            self._bind(router, address)

    def close(self) -> None:
        """Close all; safe to call twice."""
        for router in self.routers:
            router.close()

    def name_of(self, peer: Peer) -> str | None:
        """Return under which name a peer of another host is allowed, "" for this host's, None if shut out."""
        return self._authenticator.name_of(peer.key) if peer.router is not self.routers[0] else ""

    def _bind(self, router: Router, address: str) -> None:
        try:
            router.bind(address)
        except zmq.ZMQError as error:
            if router is self.routers[0]:
                raise
            raise ConfigError(f"cannot listen on {address}: {error.strerror}") from error
