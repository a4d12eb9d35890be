"""A sender without an outbox, a collector process, and a reader of logs, to test the collector alone."""

import os
import platform
import secrets
import signal
import struct
import subprocess
import sys
import time
from collections import defaultdict

import zmq

from neural.tracking.collector.log import segment_files
from neural.tracking.core import os_support
from neural.tracking.errors import CollectorUnreachableError
from neural.tracking.formats import events, segment, wire
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State
from tests.patience import PATIENCE_S, wait_until

NAMES = ("loss", "accuracy")


class Peer:
    """Sends messages of the wire protocol for one session, and builds the session's stream."""

    def __init__(self, base_dir, *, name="run", session=None, pid=None):
        self.state = State.for_base_dir(base_dir)
        self.session = session or secrets.token_bytes(16)
        self.uid = secrets.token_bytes(16)
        self.name = name
        self.pid = pid or os.getpid()
        self.offset = 0
        self.seq = 0
        self.context = zmq.Context()
        self.socket = None
        self.connect()

    def connect(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(f"ipc://{self.state.data_socket}")

    def close(self):
        self.context.destroy(linger=0)

    def info(self):
        return {
            "name": self.name,
            "dir": f"{self.name}_{self.uid.hex()[:8]}",
            "base_dir": str(self.state.base_dir),
            "rank": 0,
            "world_size": 1,
            "attempt": 1,
            "role": "opener",
            "pid": self.pid,
            "host": platform.node(),
            "boot_id": os_support.boot_id(),
            "start_time": os_support.process_start_ticks(self.pid),
            "opened_ns": time.time_ns(),
            "key": "random",
            "mode": "online",
        }

    def hello_message(self, **changes):
        fields = {"protocol": wire.PROTOCOL, "version": "0", "session": self.session, "uid": self.uid}
        return wire.Hello(**{**fields, "info": self.info(), **changes})

    def hello(self):
        return self.ask(self.hello_message())

    def ask(self, message, timeout_s=PATIENCE_S):
        self.send(message)
        return self.hear(timeout_s)

    def send(self, message):
        self.socket.send_multipart(message.encode() if isinstance(message, wire.Message) else message)

    def hear(self, timeout_s=PATIENCE_S):
        if not self.socket.poll(int(timeout_s * 1000)):
            return None
        return wire.decode(self.socket.recv_multipart())

    def batch(self, count):
        """Return DATA with the next ``count`` events of the stream."""
        first = self.seq + 1
        payload = bytearray()
        base = self.offset
        for _ in range(count):
            self.seq += 1
            payload += metrics_record(self.session, self.seq, base + len(payload))
        self.offset += len(payload)
        schemas = events.pack_schema(self.session, 1, NAMES)
        return wire.Data(
            session=self.session,
            first=first,
            last=self.seq,
            base=base,
            crc=wire.data_crc(schemas, bytes(payload)),
            schemas=schemas,
            payload=bytes(payload),
        )

    def bye(self):
        return self.ask(wire.Bye(session=self.session, n=self.seq))


def metrics_record(session, seq, offset):
    body = struct.pack("<Qqq2d", seq, time.time_ns(), seq, 0.5, float(seq))
    return segment.frame(segment.METRICS, body, record_seed=segment.seed(session, offset), record_id=1)


class CollectorProcess:
    """``python -m neural.tracking.collector run`` on a folder; ``end`` kills it if it still runs."""

    def __init__(self, base_dir, *arguments, env=None, prefix=()):
        self.base_dir = base_dir
        self.state = State.for_base_dir(base_dir)
        command = [sys.executable, "-P", "-m", "neural.tracking.collector", "run"]
        self.process = subprocess.Popen(
            [*prefix, *command, "--base-dir", str(base_dir), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )

    @property
    def pid(self):
        return self.process.pid

    def wait_ready(self, timeout_s=PATIENCE_S):
        wait_until(lambda: self.process.poll() is not None or self.answers(), timeout_s)
        assert self.process.poll() is None, self.daemon_log()
        return self

    def answers(self):
        try:
            return request(self.state, "ping", timeout_s=2.0)["pid"] == self.pid
        except CollectorUnreachableError:
            return False

    def status(self):
        return request(self.state, "status", timeout_s=PATIENCE_S)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s=PATIENCE_S):
        """Ask it to leave, wait for that, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def daemon_log(self):
        try:
            return self.state.daemon_log.read_text()
        except OSError:
            return ""

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()


class LogContent:
    """The content of all segments of a log, by session."""

    def __init__(self, folder):
        self.numbers = defaultdict(list)  # of events in batches, in log order
        self.batches = defaultdict(list)
        self.notes = defaultdict(list)
        self.schemas = defaultdict(set)
        self.marks = defaultdict(list)
        self.damages = []
        for file in segment_files.list_segments(folder):
            data = memoryview(file.path.read_bytes())
            for item in segment.scan(data, file.uuid, base=-64, start=64):
                self._take(item)

    def _take(self, item):
        if isinstance(item, segment.Damage):
            self.damages.append(item)
        elif item.kind == segment.BATCH:
            batch = events.unpack_batch(item.body)
            self.batches[batch.session].append((batch.first, batch.last))
            for record in segment.scan(batch.payload, batch.session, base=batch.base):
                assert isinstance(record, segment.Record)
                if record.kind in (segment.METRICS, segment.EVENT):
                    self.numbers[batch.session].append(struct.unpack_from("<Q", record.body)[0])
        elif item.kind == segment.SCHEMAS:
            session = bytes(item.body[:16])
            self.schemas[session] |= set(events.unpack_schemas(session, item.body[16:]))
        elif item.kind == segment.MARK:
            session, last, ended = events.unpack_mark(item.body)
            self.marks[session].append((last, ended))
        elif item.kind == segment.NOTE:
            session, note = events.unpack_note(item.body)
            self.notes[session].append(note)

    def notes_of(self, session, kind):
        return [note for note in self.notes[session] if note["kind"] == kind]
