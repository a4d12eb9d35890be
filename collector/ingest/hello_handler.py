"""Handles HELLO: checks it, opens the session in the log, and welcomes or refuses its sender."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable
from typing import Any

from neural.tracking.collector.ingest.lost_contact import LostContacts
from neural.tracking.collector.ingest.replies import Replies
from neural.tracking.collector.ingest.router import Peer
from neural.tracking.collector.ingest.sequencer import Refused, Sequencer
from neural.tracking.collector.log.sessions import VIA, Sessions, SessionState
from neural.tracking.core.names import check_run_name
from neural.tracking.errors import FormatError, ProtocolError
from neural.tracking.formats import wire
from neural.tracking.formats.event_checks import info_error
from neural.tracking.formats.events import unpack_map
from neural.tracking.state.tombstones import RUN_DELETED, Late

logger = logging.getLogger(__name__)


class HelloHandler:
    """Opens sessions, each in a task of its own, because that reads the disk.

    Args:
        send: sends a message to a peer.
        welcome: sends WELCOME to a session as soon as what is queued is durable.
        on_hello: is called with each session that was opened.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        sessions: Sessions,
        contacts: LostContacts,
        replies: Replies,
        *,
        send: Callable[[Peer, wire.Message], None],
        welcome: Callable[[SessionState], None],
        on_hello: Callable[[SessionState], None],
    ) -> None:
        self._sequencer = sequencer
        self._sessions = sessions
        self._contacts = contacts
        self._replies = replies
        self._send = send
        self._welcome = welcome
        self._on_hello = on_hello
        self._tasks: dict[bytes, asyncio.Task[None]] = {}

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The tasks of the sessions that are being opened now. Never blocks."""
        return list(self._tasks.values())

    def handle(self, peer: Peer, hello: wire.Hello, via: str) -> wire.Message | None:
        """Start to open the session; return a refusal, or None if the answer follows later. Never blocks.

        Args:
            via: the name of the key with which the peer connected from another host; empty for this host.
        """
        if hello.protocol != wire.PROTOCOL:
            return self._replies.other_protocol(hello.session, hello.protocol)
        if reason := description_error(hello):
            return self._replies.refusal(hello.session, "bad_hello", reason)
        if hello.session not in self._tasks:
            info = {key: value for key, value in hello.info.items() if key not in (VIA, wire.EMITTED)}
            emitted = hello.info.get(wire.EMITTED)
            hello = dataclasses.replace(hello, info=info | ({VIA: via} if via else {}))
            task = asyncio.create_task(self._open(peer, hello, emitted), name="hello")
            self._tasks[hello.session] = task
            task.add_done_callback(lambda _: self._tasks.pop(hello.session, None))
        return None

    async def _open(self, peer: Peer, hello: wire.Hello, emitted: object) -> None:
        before = self._sessions.get(hello.session)
        if VIA in hello.info and before is not None and not before.is_remote:
            self._send(peer, self._replies.local_session(hello.session))
            return
        try:
            session = await self._open_session(hello, emitted)
        except Refused as refused:
            self._send(peer, self._replies.refusal(hello.session, refused.code, str(refused)))
            return
        except OSError as error:  # the sender keeps its events and repeats its HELLO
            logger.warning("session %s was not answered: %s", hello.session.hex(), error)
            return
        self._contacts.on_hello(session, in_log=before is not None and not session.hello_received)
        session.peer = peer
        if not session.hello_received:
            for text in self._replies.ignored_settings(session):
                name, via = session.info.get("name"), session.info.get(VIA)
                logger.warning("run %s_%s of %s: %s", name, session.uid.hex()[:8], via, text)
        session.hello_received = True
        self._on_hello(session)
        self._welcome(session)

    async def _open_session(self, hello: wire.Hello, emitted: object) -> SessionState:
        """Open the session. If its run was removed, record first what the session emitted.

        Raises:
            Refused: the session is not taken.
            OSError: the record could not be written, or the run's tombstone could not be read.
        """
        try:
            return await self._sequencer.open(hello.session, hello.uid, hello.info)
        except Refused as refused:
            if refused.code == RUN_DELETED:
                before = self._sessions.get(hello.session)
                late = Late.of(hello.info, 0 if before is None else before.received)
                if isinstance(emitted, int) and 0 <= emitted <= wire.MAX_NUMBER:
                    late = Late.of(hello.info, emitted, exact=True)
                await asyncio.to_thread(self._sequencer.removals.account, hello.session, hello.uid, late)
            raise


def head_of_any_form(part: bytes) -> dict[str, Any]:
    """Return the map in a head; another protocol's head may lack the checksum. Empty if it is damaged."""
    try:
        return wire.unpack_head(part)
    except ProtocolError:
        with contextlib.suppress(FormatError):
            return unpack_map(part[: wire.MAX_HEAD_BYTES])
    return {}


def description_error(hello: wire.Hello) -> str:
    """Return why the description in a HELLO cannot be used; empty if it can. Never blocks."""
    if reason := info_error(hello.info):
        return reason
    name = hello.info.get("name")
    if not isinstance(name, str):
        return "info must hold the run's name"
    try:
        check_run_name(name)
    except ValueError as error:
        return str(error)
    if hello.info.get("dir") != f"{name}_{hello.uid.hex()[:8]}":
        return "info must hold the run's folder, its name and the first 8 digits of its uid"
    return ""
