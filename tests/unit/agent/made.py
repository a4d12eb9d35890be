"""Emitters with a real outbox, the events that recovery finds there, and a fake collector."""

import os

import zmq

from neural.tracking.agent.emit.emitter import Emitter
from neural.tracking.agent.emit.outbox import Outbox
from neural.tracking.formats import event_stream, events, wire
from neural.tracking.state.outbox_files import Orphan, OutboxPiece

UID = bytes(range(16))
INFO = {"name": "run", "pid": 0, "boot_id": ""}


def make_emitter(folder, *, limit_bytes=None, **options):
    """Return an emitter with a new outbox in ``folder``."""
    session = os.urandom(16)
    emitter = Emitter(session, **options)
    emitter.attach(Outbox.create(folder, session, UID, INFO, limit_bytes))
    return emitter


def fill(emitter, count, width=3):
    """Emit ``count`` events of ``width`` metrics; return the results of the calls."""
    metrics = {f"m{i}": float(i) for i in range(width)}
    return [emitter.emit_metrics(metrics, step) for step in range(count)]


def recover(folder, after=0):
    """Return the result of recovery: events as (seq, step, content) in order, and losses."""
    orphan = Orphan(folder)
    schemas = events.unpack_schemas(orphan.session, orphan.schemas())
    found, lost = [], []
    for piece in orphan.pieces(after):
        if isinstance(piece, OutboxPiece):
            decoded = event_stream.decode(memoryview(piece.payload), schemas)
            found += flat(decoded)
            lost += [(gap.first, gap.last, gap.reason) for gap in decoded.gaps]
        else:
            lost.append(tuple(piece))
    return sorted(found, key=lambda event: event[0]), sorted(lost)


def flat(decoded):
    """Return the events of a decoded stream as (seq, step, content)."""
    found = [(event.seq, event.step, {event.kind: event.data}) for event in decoded.events]
    for block in decoded.blocks:
        for seq, step, values in zip(block.seq, block.step, block.values, strict=True):
            found.append((int(seq), int(step), dict(zip(block.names, values.tolist(), strict=True))))
    return found


def account(found, lost, n):
    """Assert that every number up to ``n`` is either stored exactly once or lost."""
    seqs = [event[0] for event in found]
    missing = [seq for first, last, _ in lost for seq in range(first, last + 1)]
    assert sorted(seqs + missing) == list(range(1, n + 1))


class FakeCollector:
    """A ROUTER that keeps messages in memory. A test sets its attributes to break a rule of the protocol."""

    def __init__(self, folder):
        self.address = f"ipc://{folder}/fake.sock"
        self.context = zmq.Context()
        self.log_id = os.urandom(16)
        self.heard = []
        self.payloads = []
        self.schemas = {}
        self.last = {}  # by session
        self.ended = {}
        self.gaps = []
        self.window = 8 << 20
        self.mute = False
        self.socket = None
        self.listen()

    def listen(self):
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(self.address)
        self.greeted = set()

    def restart(self):
        self.socket.close(0)
        self.listen()

    def close(self):
        self.context.destroy(linger=0)

    def serve(self, timeout_s=0.05):
        """Answer a waiting message; return False if none arrives in time."""
        if not self.socket.poll(int(timeout_s * 1000)):
            return False
        identity, *parts = self.socket.recv_multipart()
        message = wire.decode(parts)
        self.heard.append(message)
        answer = None if self.mute else self.answer(message)
        if answer is not None:
            self.socket.send_multipart([identity, *answer.encode()])
        return True

    def answer(self, message):
        session = message.session
        if isinstance(message, wire.Hello):
            self.greeted.add(session)
            return self.welcome(session)
        if session not in self.greeted:
            return wire.Refuse(session=session, code="unknown_session", reason="say HELLO first")
        if isinstance(message, wire.Data):
            return self.on_data(message)
        if isinstance(message, wire.GapNotice):
            self.gaps.append((message.first, message.last, message.reason))
            self.last[session] = max(self.last.get(session, 0), message.last)
            return self.ack(session)
        if isinstance(message, wire.Bye):
            self.ended[session] = message.n
            return wire.ByeAck(session=session, log_id=self.log_id)
        return wire.Visible(session=session, token=message.token)

    def on_data(self, data):
        known = self.last.get(data.session, 0)
        assert wire.data_crc(data.schemas, data.payload) == data.crc
        if data.last <= known:
            return self.ack(data.session)
        if data.first != known + 1:
            return self.welcome(data.session)
        self.schemas.update(events.unpack_schemas(data.session, data.schemas))
        self.payloads.append(data.payload)
        self.last[data.session] = data.last
        return self.ack(data.session)

    def welcome(self, session):
        last = self.last.get(session, 0)
        return wire.Welcome(session=session, log_id=self.log_id, last=last, window=self.window)

    def ack(self, session):
        return wire.Ack(session=session, log_id=self.log_id, last=self.last[session], window=self.window)

    def events(self):
        """Return all stored events in the form of :func:`flat`."""
        decoded = [event_stream.decode(memoryview(payload), self.schemas) for payload in self.payloads]
        return sorted((event for part in decoded for event in flat(part)), key=lambda event: event[0])
