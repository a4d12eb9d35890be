"""Appends one JSON object for each event to ``<folder>/<name>_<id>-<c>.jsonl``; copy this sink for your own.

``<c>`` is the collector's id, so that two collectors never write to one file. A flush notes the length of the
file. After a crash the file is cut to this length, and the worker writes the later events again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from neural.tracking.formats.event_lines import json_value
from neural.tracking.sinks import truncating_file
from neural.tracking.sinks.base import Option, RunEvent, RunInfo, SinkPlace
from neural.tracking.sinks.mapping import rank_prefix


class JsonlSink:
    """Delivers to JSONL files. NaN and the infinities become the strings "NaN", "Infinity", "-Infinity"."""

    type: ClassVar[str] = "jsonl"
    options: ClassVar[Mapping[str, Option]] = {
        "folder": Option(str, "", "the folder of the files; default <base_dir>/jsonl"),
    }
    delivery: ClassVar[Literal["exactly once", "at least once"]] = "exactly once"
    batch_events: ClassVar[int] = 1000
    flush_every_s: ClassVar[float] = 1.0

    def __init__(self, place: SinkPlace, *, folder: str = "") -> None:
        self._place = place
        self._folder = Path(folder).expanduser() if folder else place.base_dir / "jsonl"
        self._sizes: dict[str, int] = {}  # by uid of the run: the valid length of its file
        self._dirty: dict[str, RunInfo] = {}

    def open(self) -> None:
        """Create the folder; raises RetryLater if that fails."""
        truncating_file.make_folder(self._folder)

    def write(self, events: Sequence[RunEvent]) -> None:
        """Append a line for each event; raises RetryLater if a file cannot be written."""
        by_run: dict[RunInfo, list[RunEvent]] = defaultdict(list)
        for event in events:
            by_run[event.run].append(event)
        # All lines of the batch count, or none: the sizes change only after every file is written.
        sizes = {run.uid: self._append(run, found) for run, found in by_run.items()}
        self._sizes.update(sizes)
        self._dirty.update((run.uid, run) for run in by_run)

    def flush(self) -> None:
        """Sync the files that changed, and note their lengths. Blocks on the disk; raises RetryLater."""
        for uid, run in self._dirty.items():
            truncating_file.sync(self._path(run))
            run.memory["bytes"] = self._sizes[uid]
            run.link = str(self._path(run))
        self._dirty.clear()

    def close(self) -> None:
        """Forget the lengths of the files. Never blocks; no file is open between calls."""
        self._sizes.clear()

    def points(self, run: RunInfo) -> list[tuple[str, int, float]]:
        """Return (metric, step, value) of all points in the run's file; raises OSError if it is missing."""
        lines = map(json.loads, self._path(run).read_bytes().splitlines())
        return [
            (rank_prefix(line["rank"]) + name, line["step"] or 0, float(value))
            for line in lines
            if line["kind"] == "metrics"
            for name, value in line["data"].items()
        ]

    def _path(self, run: RunInfo) -> Path:
        return self._folder / f"{run.label}-{self._place.writer}.jsonl"

    def _append(self, run: RunInfo, events: Sequence[RunEvent]) -> int:
        data = "".join(json.dumps(_line(event), ensure_ascii=False) + "\n" for event in events)
        start = self._sizes.get(run.uid, int(run.memory.get("bytes", 0)))
        return truncating_file.append_at(self._path(run), start, data.encode("utf-8", "backslashreplace"))


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
