"""The JSON files of a run folder: made from the truth, for people and scripts; none of them is read back.

Written so that a reader sees the old file or the new. Two writers do no harm: both write the same.
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
    """Make the named views of a run folder anew.

    Args:
        folder: the run's.
        names: which.
        damaged: ``"skip"``: also from what is left of a damaged run.

    Raises:
        DataDamagedError: something is damaged; views that need it stay as they were.
        OSError: they cannot be written.
    """
    run = Run(folder, damaged)
    for name in NAMES:
        if name in names:
            _replace(folder / f"{name}.json", _MAKERS[name](run))
    # Scripts expect all of them to be there, whatever the run has had so far.
    for name in ("hyperparameters", "artifacts"):
        if not (folder / f"{name}.json").exists():
            _replace(folder / f"{name}.json", _MAKERS[name](run))


def view_text(run: Run, name: str) -> bytes:
    """Return what a view of the run should hold."""
    return _MAKERS[name](run)


def wrong_views(run: Run) -> list[str]:
    """Return the views that were written after the run's last line and tell otherwise than its truth.

    Raises:
        DataDamagedError: something is damaged; OSError: a file cannot be read.
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
    # One call a line: half the size of indented JSON, and it can be read and compared by line.
    text = ",\n".join(map(_entry, run.metrics_history()))
    return f"[\n{text}\n]\n".encode() if text else b"[]\n"


def _entry(entry: dict[str, Any]) -> str:
    try:
        return _encode(entry)
    except ValueError:  # looking for NaN in every entry would cost three times the writing
        return _encode(json_value(entry))


def _text(value: Any) -> bytes:
    return (json.dumps(json_value(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _replace(path: Path, content: bytes) -> None:
    try:
        if path.read_bytes() == content:
            os.utime(path)  # readers tell by it that the view is not older than the lines it was made from
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
