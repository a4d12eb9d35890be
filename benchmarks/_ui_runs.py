"""Runs for the benchmark of the comparison page, which the store writes without syncs of the disk."""

from __future__ import annotations

import math
import os
import random
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from neural.tracking.collector.log.items import EventBatch, LoggedSession
from neural.tracking.collector.store.applier import StoreApplier
from neural.tracking.formats import events, segment
from neural.tracking.state.paths import State

STARTED_NS = 1_750_000_000_000_000_000
SECOND_NS = 1_000_000_000


def many(base_dir: Path, count: int, points: int = 30) -> None:
    """Write ``count`` short, ended runs with parameters, tags and five metrics each."""
    names = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr")
    rng = random.Random(5)
    sink = _opened(base_dir)
    for number in range(count):
        rate = 10 ** rng.uniform(-4, -1)
        depth = rng.choice((18, 34, 50, 101))
        floor = 0.1 + abs(math.log10(rate) + 2.5) * 0.2 + rng.random() * 0.1
        started_ns = STARTED_NS + number * 600 * SECOND_NS
        stream = _Stream(f"resnet{depth}-{rng.choice(('cifar', 'digits', 'speech'))}", names, started_ns)
        tags = rng.sample(("baseline", "sweep", "ablation", "long", "fp16"), 2)
        settings = {"auto_visualize": True, "visualize_every": None, "backend": []}
        stream.event("open", started_ns=started_ns, rank=0, tags=tags, group="bench", settings=settings)
        params = {
            "lr": rate, "batch_size": rng.choice((32, 64, 128)), "seed": number,
            "model": {"depth": depth, "dropout": rng.choice((0.0, 0.1, 0.3))},
            "optimizer": {"name": rng.choice(("adam", "sgd")), "weight_decay": 1e-4},
        }  # fmt: skip
        stream.event("params", values=params, as_text=[])
        for step in range(points):
            loss = floor + math.exp(-step / 8) + rng.gauss(0, 0.02)
            stream.metrics(step, (loss, 1 - loss / 3, loss * 1.1, 0.97 - loss / 3, rate))
        if number % 13:
            stream.event("end", status="completed", error=None)
        else:
            stream.event(
                "end", status="failed", error="Traceback (most recent call last):\nValueError: diverged"
            )
        sink.write([stream.batch()])
        sink.flush()
    sink.close()
    # As on a disk with slow syncs: the views are clearly newer than the files that they show.
    for view in [*base_dir.glob("*/metadata.json"), *base_dir.glob("*/summary.json")]:
        os.utime(view, ns=(time.time_ns(), time.time_ns() + SECOND_NS))


def long(base_dir: Path, count: int, points: int) -> None:
    """Write ``count`` ended runs of one metric with ``points`` points, noise with a spike."""
    sink = _opened(base_dir)
    for number in range(count):
        stream = _Stream(f"long-{number}", ("loss",), STARTED_NS + number * SECOND_NS)
        for batch in _noise(stream.info, points, number):
            sink.write([batch])
        for run in sink._runs.values():
            run.writer.compact()
        sink.flush()
    sink.close()


def _opened(base_dir: Path) -> StoreApplier:
    # The benchmark measures only reading; syncs of five thousand runs would take minutes.
    os.fsync = os.fdatasync = lambda fd: None  # type: ignore[assignment]
    state = State(base_dir=base_dir, root=base_dir / ".ntrack")
    state.make()
    sink = StoreApplier(state)
    sink.open()
    return sink


class _Stream:
    """One session's events, packed as in the log."""

    def __init__(self, name: str, names: tuple[str, ...], started_ns: int) -> None:
        session, uid = secrets.token_bytes(16), secrets.token_bytes(16)
        facts = {"name": name, "dir": f"{name}_{uid.hex()[:8]}", "rank": 0, "opened_ns": started_ns}
        self.info = LoggedSession(session, uid, facts, {1: names})
        self.info.schema_records[1] = events.pack_schema(session, 1, names)
        self._seq = 0
        self._time_ns = started_ns
        self._payload = b""

    def event(self, kind: str, **data: object) -> None:
        self._next()
        self._add(segment.EVENT, events.pack_event(self._seq, self._time_ns, None, kind, data))

    def metrics(self, step: int, values: tuple[float, ...]) -> None:
        self._next()
        head = np.array([self._seq, self._time_ns, step], "<i8").tobytes()
        self._add(segment.METRICS, head + np.array(values, "<f8").tobytes(), 1)

    def batch(self) -> EventBatch:
        return EventBatch(self.info, 1, self._seq, 0, memoryview(self._payload))

    def _next(self) -> None:
        self._seq += 1
        self._time_ns += 7 * SECOND_NS

    def _add(self, kind: int, body: bytes, record_id: int = 0) -> None:
        seed = segment.seed(self.info.session, len(self._payload))
        self._payload += segment.frame(kind, body, record_seed=seed, record_id=record_id)


def _noise(info: LoggedSession, points: int, number: int) -> Iterator[EventBatch]:
    rng = np.random.default_rng(number)
    head = [("crc", "<u4"), ("length", "<u4"), ("kind", "<u2"), ("flags", "<u2"), ("id", "<u4")]
    record = np.dtype([*head, ("seq", "<u8"), ("time", "<i8"), ("step", "<i8"), ("value", "<f8")])
    size = segment.MAX_BATCH_BYTES // record.itemsize
    for start in range(0, points, size):
        rows = np.zeros(min(size, points - start), record)
        place = np.arange(start, start + len(rows))
        rows["length"], rows["kind"], rows["id"] = record.itemsize, segment.METRICS, 1
        rows["seq"], rows["step"] = place + 1, place
        rows["time"] = STARTED_NS + place * 1_000_000 + rng.integers(0, 100_000, len(rows))
        rows["value"] = np.exp(-place / 300_000) + 0.05 * rng.standard_normal(len(rows)) + number * 0.02
        rows["value"][place == points // 3] = 9.0
        yield EventBatch(
            info, start + 1, start + len(rows), start * record.itemsize, memoryview(rows.tobytes())
        )


if __name__ == "__main__":  # in a process of its own, because it disables the disk's syncs
    {"many": many, "long": long}[sys.argv[1]](Path(sys.argv[2]), *map(int, sys.argv[3:]))
