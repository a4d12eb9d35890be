"""A training session without its sender thread, and replacements of sockets: the test passes each message."""

import os
import platform

from neural.tracking.agent.emit.emitter import Emitter
from neural.tracking.agent.emit.outbox import Outbox
from neural.tracking.agent.send.delivery_state import DeliveryState
from neural.tracking.agent.send.outbox_reader import OutboxReader
from neural.tracking.agent.send.protocol import SenderProtocol
from neural.tracking.core import os_support
from neural.tracking.formats import wire

UID = b"u" * 16
FOLDER = f"run_{UID.hex()[:8]}"


class Listeners:
    """Replaces the sockets: every peer is on this host."""

    def open(self):
        self.routers = []

    def name_of(self, peer):
        return ""


class Contacts:
    """Replaces the watch for lost contact: no peer is on another host."""

    def on_hello(self, session, *, in_log):
        pass

    def on_message(self, session):
        pass


class Peer:
    """The connection from the collector to a trainer."""

    key = ""

    def __init__(self, trainer):
        self._trainer = trainer

    def send(self, parts):
        self._trainer.to_hear.append(list(parts))
        return True


class Trainer:
    """One process's session: emitter, outbox, protocol. ``said`` and ``to_hear`` hold undelivered messages."""

    def __init__(self, state, number):
        self.session = bytes([number + 1]) * 16
        self.info = {
            "name": "run", "dir": FOLDER, "rank": number, "role": "opener", "attempt": 1, "world_size": 1,
            "host": platform.node(), "pid": os.getpid(), "boot_id": os_support.boot_id(), "opened_ns": 1,
            "start_time": os_support.process_start_ticks(os.getpid()),
        }  # fmt: skip
        self.values = []  # the model
        self.said, self.to_hear = [], []
        self.alive, self.ended = True, False
        self.emitter = Emitter(self.session)
        self.outbox = Outbox.create(state.outbox, self.session, UID, self.info, None)
        self.emitter.attach(self.outbox)
        self.delivery = DeliveryState()
        self.delivery.stream = OutboxReader(self.emitter, self.outbox)
        self.protocol = SenderProtocol(self.delivery, self.session, self.hello, self.emitter.schemas.records)
        self.protocol.start(self, 0.0)

    def hello(self):
        return wire.Hello(protocol=wire.PROTOCOL, version="0", session=self.session, uid=UID, info=self.info)

    def send(self, message):
        self.said.append(message.encode())
        return True

    def log(self, count, names):
        for _ in range(count):
            value = float(len(self.values))
            assert self.emitter.emit_metrics({"m": value, **dict.fromkeys(names, 0.0)})
            self.values.append(value)

    def let_go(self):
        """Close what a process's end closes; the files stay as they are."""
        segments = self.delivery.stream.segments
        self.emitter.detach()
        self.outbox.abandon(segments)
        self.alive = False

    def leave(self):
        """End in order, once the collector has said that it has all."""
        segments = self.delivery.stream.segments
        self.emitter.detach()
        self.outbox.close(segments, delete=True)
        self.alive = False
