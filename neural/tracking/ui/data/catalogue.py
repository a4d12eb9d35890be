"""Keeps a row for every run in ``base_dir``: reads a run once, and again only when its files change.

In each scan an ended run costs one ``stat`` and a live run a listing of its folder. The first scan runs in a
thread of its own; its rows are available while it still runs.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from neural.tracking.api.run_list import DAMAGED, run_entry
from neural.tracking.formats.events import END_STATUSES
from neural.tracking.formats.run_file import FORMAT
from neural.tracking.params.plain import flat_params
from neural.tracking.reader.run import Run
from neural.tracking.reader.run_list import HIDDEN

MIN_PAUSE_S = 0.5  # between two scans, however many pages poll
WATCH_ENDED_NS = 60 * 10**9  # so long after its end a run is checked as a live one: its views may still change
_RUN_FOLDER_NAME = re.compile(r".+_[0-9a-f]{8}")
# The errors of reading a folder that another process writes, damages or removes.
UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError)


class Signature(NamedTuple):
    """Changes when the run changes: the folder's time, and for a watched run the event and point files.

    When an ended run gets something new, its views are replaced by rename, which changes the folder's time.
    """

    folder: int
    files: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Row:
    """A run in the table; ``problem`` is why it cannot be read, or what is damaged."""

    key: str  # the run's id, or the folder's name if another folder has the same id
    folder: Path
    name: str
    id: str = ""
    status: str = "unreadable"
    start: str | None = None
    end: str | None = None
    duration_s: float | None = None
    calls: int = 0
    params: dict[str, Any] = field(default_factory=dict)  # flat, dotted
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)  # last, min, max and their steps
    tags: tuple[str, ...] = ()
    notes: str | None = None
    group: str | None = None
    ranks: int = 1
    problem: str | None = None
    generation: int = 0  # the catalogue's generation when the row last changed

    @property
    def readable(self) -> bool:
        """Whether the run can be read."""
        return self.status != "unreadable"

    @property
    def live(self) -> bool:
        """Whether the run can be read and has not ended."""
        return self.readable and self.status not in END_STATUSES


class Catalogue:
    """The rows of one ``base_dir``. All methods are safe to call from several threads."""

    def __init__(self, base_dir: Path) -> None:
        self.base_dir = base_dir
        self.generation = 0
        self.scanned, self.total = 0, 0  # folders of the first scan, for the progress text
        self.complete = False
        self._rows: dict[str, Row] = {}  # by folder name
        self._by_key: dict[str, Row] = {}
        self._signatures: dict[str, Signature] = {}
        self._removed: list[tuple[int, str]] = []
        self._scanning = threading.Lock()
        self._scanned_at = 0.0
        self._pause_s = MIN_PAUSE_S

    def start(self) -> threading.Thread:
        """Start the first scan in a background thread and return the thread. Never blocks."""
        thread = threading.Thread(target=self.refresh, name="ntrack-ui-catalogue", daemon=True)
        thread.start()
        return thread

    def refresh(self, *, at_once: bool = False) -> None:
        """Scan for changes, unless a scan is running or has just ended; with ``at_once`` always.

        Blocks while it reads the changed runs; with ``at_once`` first until a running scan ends.
        """
        if not self._scanning.acquire(blocking=at_once):
            return
        try:
            began = time.monotonic()
            if at_once or began - self._scanned_at >= self._pause_s:
                self._scan()
                self._scanned_at = time.monotonic()
                # Scans take at most a sixth of a core, however large the runs are.
                self._pause_s = (
                    max(MIN_PAUSE_S, 5 * (self._scanned_at - began)) if self.complete else MIN_PAUSE_S
                )
                self.complete = True
        finally:
            self._scanning.release()

    def rows(self) -> list[Row]:
        """Return all rows: unreadable folders first, then the runs, newest first. Never blocks."""
        rows = list(self._by_key.values())
        return sorted(rows, key=lambda row: (not row.readable, row.start or "", row.key), reverse=True)

    def row(self, key: str) -> Row | None:
        """Return the row of a key; None if there is none."""
        return self._by_key.get(key)

    def chosen(self, keys: Iterable[str]) -> list[Row]:
        """Return the readable rows of these keys, in this order; other keys are ignored."""
        return [row for key in keys if (row := self._by_key.get(key)) is not None and row.readable]

    def changes(self, since: int) -> tuple[list[Row], list[str]]:
        """Return the rows that changed after a generation, and the keys of removed runs."""
        rows = [row for row in list(self._by_key.values()) if row.generation > since]
        gone = [key for generation, key in list(self._removed) if generation > since]
        return rows, [key for key in gone if key not in self._by_key]

    def _scan(self) -> None:
        folders = _folders(self.base_dir)
        self.total = len(folders)
        for name in set(self._rows) - {name for name, _ in folders}:
            self._drop(name)
        settled_ns = time.time_ns() - WATCH_ENDED_NS
        for number, (name, changed_ns) in enumerate(folders, 1):
            self.scanned = max(self.scanned, number)
            old, known = self._rows.get(name), self._signatures.get(name)
            watched = old is not None and (old.live or not old.readable or changed_ns > settled_ns)
            now = Signature(changed_ns, _files(self.base_dir / name) if watched else ())
            if known is None or (now.files != known.files if watched else now.folder != known.folder):
                self._put(read_row(self.base_dir / name), now)

    def _put(self, row: Row | None, signature: Signature) -> None:
        if row is None:
            return
        name = row.folder.name
        other = self._by_key.get(row.key)
        key = row.key if other is None or other.folder.name == name else name
        row = Row(**{**vars(row), "key": key, "generation": self.generation + 1})
        old = self._rows.get(name)
        if old is not None and old.key != key:
            self._by_key.pop(old.key, None)
        self._rows[name] = self._by_key[key] = row
        self._signatures[name] = signature
        self.generation = row.generation  # last: a reader that sees this number also sees the row

    def _drop(self, name: str) -> None:
        row = self._rows.pop(name)
        self._signatures.pop(name, None)
        self._by_key.pop(row.key, None)
        self._removed = [*self._removed[-999:], (self.generation + 1, row.key)]
        self.generation += 1


def read_row(folder: Path) -> Row | None:
    """Return the row of a run folder, with a ``problem`` if it is unreadable; None if it is no run folder."""
    name = folder.name.rpartition("_")[0] or folder.name
    try:
        if (problem := _refusal(folder)) is not None:
            return Row(folder.name, folder, name, problem=problem) if problem else None
        run = Run(folder)
        entry = run_entry(run)
        summary = entry["summary"]
        metrics = dict(summary.get("metrics") or {})
        if entry["status"] == DAMAGED:
            known = entry["experiment_id"]
            return Row(known or folder.name, folder, run.name, known, problem=_damage(entry))
        return Row(
            key=entry["experiment_id"] or folder.name,
            folder=folder,
            name=str(entry["experiment_name"]),
            id=entry["experiment_id"],
            status=str(entry["status"]),
            start=_time(entry["start_time"]),
            end=_time(entry["end_time"]),
            duration_s=_seconds(summary.get("duration_s")),
            calls=int(summary.get("calls") or 0),
            params=flat_params(entry["hyperparameters"]),
            metrics={name: found for name, found in metrics.items() if isinstance(found, dict)},
            tags=tuple(map(str, entry["tags"] or ())),
            notes=_text(entry["notes"]),
            group=_text(entry["group"]),
            ranks=len(entry.get("ranks") or (0,)),
            problem=_damage(entry),
        )
    except UNREADABLE as error:
        return Row(folder.name, folder, name, problem=f"cannot be read: {error}")


# A damaged view that is still JSON can contain any values. These checks make the values of a row valid.
def _time(value: Any) -> Any:
    if value is not None:
        datetime.fromisoformat(value)  # raises if it is no time
    return value


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if not math.isfinite(seconds := float(value)):
        raise ValueError(f"its duration is {value} seconds")
    return seconds


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _refusal(folder: Path) -> str | None:
    """Return why a folder cannot be read as a run; None if it can, an empty text if it is no run folder."""
    try:
        with open(folder / "run.json", "rb") as file:
            version = json.loads(file.read()).get("format")
    except (FileNotFoundError, NotADirectoryError):
        if any(folder.glob("events-*.jsonl")):
            return None
        if _RUN_FOLDER_NAME.fullmatch(folder.name) and any(folder.iterdir()):
            return "half-written: no run.json and no events; see `ntrack verify`"
        return ""
    except (ValueError, AttributeError):
        if any(folder.glob("events-*.jsonl")):
            return None  # the event lines name the run
        return "run.json is damaged, and there are no event lines; see `ntrack verify`"
    if isinstance(version, int) and version > FORMAT:
        return f"written by a newer release (run folder format {version}, this one reads {FORMAT}): upgrade"
    return None


def _damage(entry: dict[str, Any]) -> str | None:
    return f"{entry['damaged']}; `ntrack verify` lists all damage" if entry["damaged"] else None


def _folders(base_dir: Path) -> list[tuple[str, int]]:
    """Return (name, modification time in ns) of all possible run folders, the last changed first."""
    found = []
    try:
        with os.scandir(base_dir) as entries:
            for entry in entries:
                if not entry.name.startswith(HIDDEN) and entry.is_dir():
                    with contextlib.suppress(OSError):
                        found.append((entry.name, os.stat(entry.path).st_mtime_ns))
    except OSError:
        return []
    return sorted(found, key=lambda one: one[1], reverse=True)


def _files(folder: Path) -> tuple[Any, ...]:
    found = []
    for place in (folder, folder / "metrics"):
        with contextlib.suppress(OSError), os.scandir(place) as files:
            for file in files:
                if file.name.startswith(("events-", "tail-", "part-", "run.json")):
                    info = file.stat()
                    found.append((file.name, info.st_size, info.st_mtime_ns))
    return tuple(sorted(found))
