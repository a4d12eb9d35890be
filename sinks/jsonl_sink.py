"""Appends one JSON object an event to ``<folder>/<name>_<id>-<c>.jsonl``; the sink to copy from.

``<c>`` is the collector's mark, so that two of them never write to one file. A flush remembers how long
the file was; what a crash left behind that is cut off again, and comes again.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from neural.tracking.errors import RetryLater
from neural.tracking.files import fsync_dir
from neural.tracking.reader.eventlines import json_value
from neural.tracking.sinks.sink import Option, RunEvent, RunInfo, SinkPlace


class JsonlSink:
    """Delivers to files; NaN and the infinities are the strings "NaN", "Infinity", "-Infinity"."""

    type: ClassVar[str] = "jsonl"
    options: ClassVar[Mapping[str, Option]] = {
        "folder": Option(str, "", "where the files lie; default <base_dir>/jsonl"),
    }
    delivery: ClassVar[Literal["exactly once", "at least once"]] = "exactly once"
    batch_events: ClassVar[int] = 1000
    flush_every_s: ClassVar[float] = 1.0

    def __init__(self, place: SinkPlace, *, folder: str = "") -> None:
        self._place = place
        self._folder = Path(folder).expanduser() if folder else place.base_dir / "jsonl"
        self._sizes: dict[str, int] = {}  # by run: how much of its file counts
        self._dirty: dict[str, RunInfo] = {}

    def open(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RetryLater(f"cannot make {self._folder}: {error}", after_s=5.0) from error

    def write(self, events: Sequence[RunEvent]) -> None:
        by_run: dict[RunInfo, list[RunEvent]] = defaultdict(list)
        for event in events:
            by_run[event.run].append(event)
        # All of the batch's lines or none: the sizes count only once every file has its own.
        sizes = {run.uid: self._append(run, found) for run, found in by_run.items()}
        self._sizes.update(sizes)
        self._dirty.update((run.uid, run) for run in by_run)

    def flush(self) -> None:
        try:
            for uid, run in self._dirty.items():
                with self._path(run).open("rb") as file:
                    os.fsync(file.fileno())
                if "bytes" not in run.memory:
                    fsync_dir(self._folder)
                run.memory["bytes"] = self._sizes[uid]
                run.link = str(self._path(run))
        except OSError as error:
            raise RetryLater(f"cannot sync {self._folder}: {error}", after_s=5.0) from error
        self._dirty.clear()

    def close(self) -> None:
        self._sizes.clear()

    def _path(self, run: RunInfo) -> Path:
        return self._folder / f"{run.label}-{self._place.writer}.jsonl"

    def _append(self, run: RunInfo, events: Sequence[RunEvent]) -> int:
        """Write the lines where the file's counted part ends; return where it ends then."""
        data = "".join(json.dumps(_line(event), ensure_ascii=False) + "\n" for event in events)
        raw = data.encode("utf-8", "backslashreplace")
        start = self._sizes.get(run.uid, int(run.memory.get("bytes", 0)))
        try:
            fd = os.open(self._path(run), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.ftruncate(fd, start)
                written = 0
                while written < len(raw):
                    written += os.pwrite(fd, memoryview(raw)[written:], start + written)
            finally:
                os.close(fd)
        except OSError as error:
            raise RetryLater(f"cannot write {self._path(run).name}: {error}", after_s=5.0) from error
        return start + len(raw)


def _line(event: RunEvent) -> dict[str, Any]:
    return {
        "run": event.run.uid,
        "session": event.session,
        "rank": event.rank,
        "seq": event.seq,
        "time_ns": event.time_ns,
        "step": event.step,
        "kind": event.kind,
        "data": json_value(event.data),
    }
