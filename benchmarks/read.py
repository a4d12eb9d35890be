"""Reading: the time to read one metric, also of many ranks, and the bytes of a point on disk.

Run as ``python benchmarks/read.py [--points N] [--json]``. The store itself writes the runs, from the same
batches that a collector gives to it, with compaction and merging.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _measure import Row, percentile, report

from neural.tracking.collector.log.items import EventBatch, LoggedSession
from neural.tracking.collector.store.applier import StoreApplier
from neural.tracking.formats import events, segment
from neural.tracking.reader.run import Run
from neural.tracking.state.paths import State

STARTED_NS = 1_700_000_000_000_000_000
STEP_NS = 1_000_000  # one call a millisecond, jittered by a tenth


def noise(random: np.random.Generator, first: int, shape: tuple[int, int]) -> np.ndarray:
    """Return float64 noise, which cannot be compressed."""
    return random.standard_normal(shape)


def losses(random: np.random.Generator, first: int, shape: tuple[int, int]) -> np.ndarray:
    """Return values like the loss of a training in float32: they fall, are noisy, and are rounded."""
    falling = np.exp(-(first + np.arange(shape[0])) / 200_000)[:, None]
    return (falling + 0.01 * random.standard_normal(shape)).astype("f4").astype("f8")


def batches(info: LoggedSession, names: tuple[str, ...], calls: int, make: object) -> Iterator[EventBatch]:
    """Yield the calls of one session in batches of about a megabyte, as the log does."""
    random = np.random.default_rng(7)
    head = [("crc", "<u4"), ("length", "<u4"), ("kind", "<u2"), ("flags", "<u2"), ("id", "<u4")]
    numbers = [("seq", "<u8"), ("time", "<i8"), ("step", "<i8"), ("values", "<f8", (len(names),))]
    record = np.dtype([*head, *numbers])
    size = segment.MAX_BATCH_BYTES // record.itemsize
    for start in range(0, calls, size):
        rows = np.zeros(min(size, calls - start), record)
        number = np.arange(start + 1, start + len(rows) + 1)
        rows["length"], rows["kind"], rows["id"] = record.itemsize, segment.METRICS, 1
        rows["seq"], rows["step"] = number, number - 1
        rows["time"] = STARTED_NS + number * STEP_NS + random.integers(0, STEP_NS // 10, len(rows))
        rows["values"] = make(random, start, (len(rows), len(names)))  # type: ignore[operator]
        base = start * record.itemsize
        yield EventBatch(info, start + 1, start + len(rows), base, memoryview(rows.tobytes()))


def store(base_dir: Path, name: str, metrics: int, calls: int, make: object, *, ranks: int = 1) -> Path:
    """Write a run of one or several ranks, compact all of it, and return its folder."""
    names = tuple(f"metric_{i}" for i in range(metrics))
    uid = secrets.token_bytes(16)
    folder = f"{name}_{uid.hex()[:8]}"
    infos = []
    for rank in range(ranks):
        session = secrets.token_bytes(16)
        facts = {"name": name, "dir": folder, "rank": rank, "role": "rank" if rank else "opener"}
        infos.append(LoggedSession(session, uid, facts, {1: names}))
        infos[-1].schema_records[1] = events.pack_schema(session, 1, names)
    state = State(base_dir=base_dir, root=base_dir / ".ntrack")
    state.make()
    sink = StoreApplier(state)
    sink.open()
    for count, together in enumerate(zip(*(batches(info, names, calls, make) for info in infos), strict=True)):
        sink.write(list(together))
        if count % 16 == 15:
            sink.flush()
    for run in sink._runs.values():
        run.writer.compact()
    sink.flush()
    sink.close()
    return base_dir / folder


def figures(
    folder: Path, metrics: int, calls: int, what: str, *, read_s: float, point_bytes: float
) -> Iterator[Row]:
    """Yield the size of a run and the times to read a metric."""
    parts = list((folder / "metrics").glob("part-*.parquet"))
    size = sum(path.stat().st_size for path in parts)
    name = f"{calls:,} points of each of {metrics} metrics, {what}"
    yield Row(f"{name}: on disk", size / calls / metrics, "B/point", point_bytes)
    Run(folder).metric("metric_0")
    times = []
    for _ in range(7):
        began = time.perf_counter()
        columns = Run(folder).metric("metric_0")
        times.append(time.perf_counter() - began)
        assert len(columns) == calls
        assert columns.step[-1] == calls - 1
    times.sort()
    yield Row("  one metric read: p50", percentile(times, 0.5), "s", read_s)
    yield Row("  one metric read: slowest", times[-1], "s")
    code = (
        "import sys, time; import pyarrow.parquet; from neural.tracking.reader.run import Run; "
        "began = time.perf_counter(); Run(sys.argv[1]).metric('metric_0'); print(time.perf_counter() - began)"
    )
    fresh = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    yield Row("  in a new process, after the imports", float(fresh.stdout), "s")


def of_ranks(folder: Path, ranks: int, calls: int) -> Iterator[Row]:
    """Yield the time and memory that a new process needs to read the mean of a metric over its ranks."""
    code = (
        "import resource, sys, time; import pyarrow.parquet; from neural.tracking.reader.run import Run; "
        "began = time.perf_counter(); count = len(Run(sys.argv[1]).metric('metric_0')); "
        "print(count, time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    fresh = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    count, took_s, memory_kib = (float(word) for word in fresh.stdout.split())
    assert count == calls
    name = f"the mean of {ranks} ranks of {calls:,} points each"
    yield Row(f"{name}, in a new process", took_s, "s")
    yield Row(f"{name}: its memory, maximum", memory_kib * 1024 / 1e6, "MB")


def main() -> int:
    """Measure, print the figures, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--points", type=int, default=1_000_000, help="points of a metric; also ten times as many"
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    base_dir = Path(tempfile.mkdtemp(prefix="bench-", dir="/var/tmp"))
    rows: list[Row] = []
    try:
        for metrics, calls, make, what, read_s, point_bytes in (
            (10, given.points, noise, "float64 noise", 0.05, 12.0),
            (10, given.points, losses, "float32 losses", 0.05, 7.0),
            (1, 10 * given.points, noise, "float64 noise", 0.5, 12.0),
        ):
            folder = store(base_dir, "read", metrics, calls, make)
            rows += figures(folder, metrics, calls, what, read_s=read_s, point_bytes=point_bytes)
            shutil.rmtree(folder)
        ranks, calls = 8, 4 * given.points
        rows += of_ranks(store(base_dir, "ranks", 1, calls, losses, ranks=ranks), ranks, calls)
    finally:
        shutil.rmtree(base_dir, ignore_errors=True)
    return report("read (times are jittered)", rows, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
