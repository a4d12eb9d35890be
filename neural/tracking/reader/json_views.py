"""The JSON views of a run folder: made from its data for people and scripts, never read back.

A view is written atomically: a reader sees the old file or the new one. Two writers do no harm, since both
write the same content.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from neural.tracking.core.files import atomic_write, read_regular
from neural.tracking.formats.event_lines import json_value
from neural.tracking.reader.artifact_views import artifacts_view
from neural.tracking.reader.run import Damaged, Run

NAMES = ("metadata", "hyperparameters", "artifacts", "summary", "metrics")
MAX_ENTRIES = 200_000

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def write_views(folder: Path, names: Collection[str] = NAMES, *, damaged: Damaged = "raise") -> None:
    """Write the named views of a run folder. Blocks: reads the data that they need.

    Args:
        folder: the run folder.
        names: the views to write.
        damaged: ``"skip"``: also write views of the intact rest of a damaged run.

    Raises:
        DataDamagedError: data are damaged; this view and the following ones remain unchanged.
        OSError: a view cannot be written.
    """
    run = Run(folder, damaged)
    for name in NAMES:
        if name in names:
            _replace(folder / f"{name}.json", _MAKERS[name](run))
    # Scripts expect these files, even if the run has no such data yet.
    for name in ("hyperparameters", "artifacts"):
        if not (folder / f"{name}.json").exists():
            _replace(folder / f"{name}.json", _MAKERS[name](run))


def view_text(run: Run, name: str) -> bytes:
    """Return the correct content of a view of the run."""
    return _MAKERS[name](run)


def wrong_views(run: Run) -> list[str]:
    """Return the views that were written after the run's last line and differ from its data.

    Raises:
        DataDamagedError: data are damaged.
        OSError: a file cannot be read.
    """
    logged_ns = max((path.stat().st_mtime_ns for path in run.folder.glob("events-*.jsonl")), default=0)
    paths = [path for name in NAMES if (path := run.folder / f"{name}.json").exists()]
    made = [path for path in paths if path.stat().st_mtime_ns > logged_ns]
    return [path.name for path in made if read_regular(path) != view_text(run, path.stem)]


def _metrics(run: Run) -> bytes:
    count = run.call_count()
    if count > MAX_ENTRIES:
        return _text(
            {
                "entries": count,
                "where": "metrics/part-*.parquet",
                "note": f"more than {MAX_ENTRIES} calls; read the Parquet files, or export the run",
            }
        )
    # One call in each line: half the size of indented JSON, and it can be compared line by line.
    text = ",\n".join(map(_entry, run.metrics_history()))
    return f"[\n{text}\n]\n".encode() if text else b"[]\n"


def _entry(entry: dict[str, Any]) -> str:
    try:
        return _encode(entry)
    except ValueError:  # contains NaN; a check of every entry would triple the time of writing
        return _encode(json_value(entry))


def _text(value: Any) -> bytes:
    return (json.dumps(json_value(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _replace(path: Path, content: bytes) -> None:
    try:
        if path.read_bytes() == content:
            os.utime(path)  # the time shows that the view is not older than the lines that it shows
            return
    except FileNotFoundError:
        pass
    atomic_write(path, content, durable=False)


_MAKERS = {
    "metadata": lambda run: _text(run.metadata),
    "hyperparameters": lambda run: _text(run.params),
    "artifacts": lambda run: _text(artifacts_view(run.facts.artifacts)),
    "summary": lambda run: _text(run.summary()),
    "metrics": _metrics,
}
