"""Every run below ``base_dir`` as a row: read once, then only where its files changed.

An ended run costs one ``stat`` a look, a live one a listing of its folder. The first look over thousands of
runs happens in a thread of its own and hands out what it has so far.
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

REST_S = 0.5  # between two looks, however many pages ask
WATCH_ENDED_NS = 60 * 10**9  # an ended run is watched closely for so long: views may still be on their way
_LOOKS_LIKE_A_RUN = re.compile(r".+_[0-9a-f]{8}")
# What reading a folder that someone else writes, damages or removes can raise.
UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError)


class Signature(NamedTuple):
    """What changes when the run does: its folder's time; of a watched run, its files of events and points.

    Views are replaced by rename when an ended run gets something new, and that changes the folder's time.
    """

    folder: int
    files: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Row:
    """A run as the table shows it; ``problem`` says why it could not be read, or what in it is damaged."""

    key: str  # the run's id; where two folders have the same, the folder's name
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
    generation: int = 0  # of the catalogue when the row last changed

    @property
    def readable(self) -> bool:
        return self.status != "unreadable"

    @property
    def live(self) -> bool:
        return self.readable and self.status not in END_STATUSES


class Catalogue:
    """The rows of one ``base_dir``. Safe to use from several threads."""

    def __init__(self, base_dir: Path) -> None:
        self.base_dir = base_dir
        self.generation = 0
        self.scanned, self.total = 0, 0  # folders of the first look, for a progress line
        self.complete = False
        self._rows: dict[str, Row] = {}  # by folder name
        self._by_key: dict[str, Row] = {}
        self._signatures: dict[str, Signature] = {}
        self._removed: list[tuple[int, str]] = []
        self._looking = threading.Lock()
        self._looked_at = 0.0
        self._rest_s = REST_S

    def start(self) -> threading.Thread:
        """Begin the first look in the background."""
        thread = threading.Thread(target=self.refresh, name="ntrack-ui-catalogue", daemon=True)
        thread.start()
        return thread

    def refresh(self, *, at_once: bool = False) -> None:
        """Look for changes, unless somebody is looking or has just looked."""
        if not self._looking.acquire(blocking=at_once):
            return
        try:
            began = time.monotonic()
            if at_once or began - self._looked_at >= self._rest_s:
                self._look()
                self._looked_at = time.monotonic()
                # Reading never takes more than a sixth of a core, however large the runs grow.
                self._rest_s = max(REST_S, 5 * (self._looked_at - began)) if self.complete else REST_S
                self.complete = True
        finally:
            self._looking.release()

    def rows(self) -> list[Row]:
        """Return all rows, newest first; folders that could not be read come first of all."""
        rows = list(self._by_key.values())
        return sorted(rows, key=lambda row: (not row.readable, row.start or "", row.key), reverse=True)

    def row(self, key: str) -> Row | None:
        """Return one row."""
        return self._by_key.get(key)

    def chosen(self, keys: Iterable[str]) -> list[Row]:
        """Return the rows of these keys that are there and readable, in this order."""
        return [row for key in keys if (row := self._by_key.get(key)) is not None and row.readable]

    def changes(self, since: int) -> tuple[list[Row], list[str]]:
        """Return rows changed after a generation, and keys that went."""
        rows = [row for row in list(self._by_key.values()) if row.generation > since]
        gone = [key for generation, key in list(self._removed) if generation > since]
        return rows, [key for key in gone if key not in self._by_key]

    def _look(self) -> None:
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
                self._take(read_row(self.base_dir / name), now)

    def _take(self, row: Row | None, signature: Signature) -> None:
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
        self.generation = row.generation  # last: who has seen this number has seen the row

    def _drop(self, name: str) -> None:
        row = self._rows.pop(name)
        self._signatures.pop(name, None)
        self._by_key.pop(row.key, None)
        self._removed = [*self._removed[-999:], (self.generation + 1, row.key)]
        self.generation += 1


def read_row(folder: Path) -> Row | None:
    """Return the row of a run folder; None for a folder that is none."""
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
            return Row(known or folder.name, folder, run.name, known, problem=_told(entry))
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
            problem=_told(entry),
        )
    except UNREADABLE as error:
        return Row(folder.name, folder, name, problem=f"cannot be read: {error}")


# A view that was damaged and is still JSON can hold anything; nobody who shows a row has to look twice.
def _time(told: Any) -> Any:
    if told is not None:
        datetime.fromisoformat(told)  # raises for what is none
    return told


def _seconds(told: Any) -> float | None:
    if told is None:
        return None
    if not math.isfinite(seconds := float(told)):
        raise ValueError(f"it is said to have taken {told} seconds")
    return seconds


def _text(told: Any) -> str | None:
    return None if told is None else str(told)


def _refusal(folder: Path) -> str | None:
    """Return why a folder cannot be read as a run, None if it can, an empty text if it is no run at all."""
    try:
        with open(folder / "run.json", "rb") as file:
            version = json.loads(file.read()).get("format")
    except (FileNotFoundError, NotADirectoryError):
        if any(folder.glob("events-*.jsonl")):
            return None
        if _LOOKS_LIKE_A_RUN.fullmatch(folder.name) and any(folder.iterdir()):
            return "half-written: no run.json and no events; `ntrack verify` tells what is there"
        return ""
    except (ValueError, AttributeError):
        if any(folder.glob("events-*.jsonl")):
            return None  # the events lines say who the run is
        return "run.json is damaged, and there are no events lines; `ntrack verify` tells what is there"
    if isinstance(version, int) and version > FORMAT:
        return f"written by a newer release (run folder format {version}, this one reads {FORMAT}): upgrade"
    return None


def _told(entry: dict[str, Any]) -> str | None:
    return f"{entry['damaged']}; `ntrack verify` names all of it" if entry["damaged"] else None


def _folders(base_dir: Path) -> list[tuple[str, int]]:
    """Return what may be run folders with the time of their last change, those that changed last first."""
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
                    about = file.stat()
                    found.append((file.name, about.st_size, about.st_mtime_ns))
    return tuple(sorted(found))
