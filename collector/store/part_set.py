"""The parts of one run and one collector: makes them from the tail, merges them, removes replaced ones.

After every step the folder reads the same. A part is written under a temporary name, synced and renamed before
the tail that it came from is replaced. A merged part names the parts that it replaces. Other readers do not
know that and read every ``*.parquet``. So a replaced part gets another name in the same step. It is removed a
minute later, when no reader can be using it any more.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neural.tracking.core.files import fsync_dir
from neural.tracking.errors import FormatError, RetryLater
from neural.tracking.formats import parts
from neural.tracking.formats.parts import Part, PartReader
from neural.tracking.formats.tails import Tail
from neural.tracking.reader import part_list
from neural.tracking.reader.rows import Gathering, Rows, concatenated, group_rows, sort

logger = logging.getLogger(__name__)

MERGE_COUNT = 8
MAX_MERGED_ROWS = 16 << 20
WINDOW_ROWS = 512 << 10
MANY_NAMES_ROWS = 64 << 10  # if each row may have a name of its own: that takes ten times the memory


class PartSet:
    """The parts in ``metrics/`` that this collector wrote. Not thread-safe; the methods block on the disk."""

    def __init__(self, folder: Path, collector: str) -> None:
        self._folder = folder
        self._collector = collector
        self._removals: list[tuple[float, Path]] = []
        damages: list[str] = []
        listed = part_list.scan(folder, damages)
        for text in damages:
            logger.error("part could not be read: %s", text)
        self.parts = [self._in_place(part) for part in listed.live if part.collector == collector]
        for path in listed.replaced:  # a kill in the middle of a merge left these
            if path.name.lstrip(".").startswith(f"part-{collector}-"):
                self._put_aside(parts.own_name(path))
        self._next = 1
        for name in sorted(os.listdir(folder)):
            named = parts.NAME.fullmatch(parts.own_name(folder / name).name)
            if name.endswith(".tmp") and name.startswith(f"part-{collector}-"):
                (folder / name).unlink(missing_ok=True)
            elif named and named[1] == collector:
                self._next = max(self._next, int(named[2]) + 1)

    def highest(self) -> dict[bytes, int]:
        """Return the highest number of each session that a part covers. Never blocks."""
        return part_list.highest(self.parts)

    def add(self, tail: Tail, ranks: Mapping[str, int]) -> int:
        """Make a part of the points in the tail that no part has yet; return how many points these were.

        Raises:
            RetryLater: no part was made.
        """
        gathering, spans, calls = Gathering(), dict[str, tuple[int, int]](), 0
        for stretch in tail.stretches(self.highest()):
            session = stretch.session.hex()
            first = spans.get(session, (stretch.first, 0))[0]
            spans[session] = (first, stretch.last)
            for block in stretch.blocks:
                gathering.add(session, block)
                calls += len(block.seq)
        rows = gathering.sorted()
        if len(rows):
            self._write(0, [rows], spans, calls, [], ranks)
        return len(rows)

    def merge(self, ranks: Mapping[str, int]) -> bool:
        """Merge the oldest eight parts of a level, if there are so many; return whether a merge was made.

        Raises:
            RetryLater: the parts are unchanged.
        """
        chosen = self._choice()
        if not chosen:
            return False
        spans: dict[str, tuple[int, int]] = {}
        for part in chosen:
            for key, (first, last) in part.sessions.items():
                span = spans.get(key.hex(), (first, last))
                spans[key.hex()] = (min(first, span[0]), max(last, span[1]))
        numbers = {number for part in chosen for number in (part.number, *part.replaces)}
        # Parts that are still on disk stay listed as replaced: otherwise, once their replacement is replaced,
        # they would count again.
        replaced = sorted(number for number in numbers if self._is_there(self._path(number)))
        known_ranks = {key.hex(): rank for part in chosen for key, rank in part.ranks.items()}
        calls = sum(part.calls for part in chosen)
        try:
            self._write(chosen[0].level + 1, _merged(chosen), spans, calls, replaced, {**known_ranks, **ranks})
        except FormatError as error:
            logger.error("parts were not merged: %s", error)
            return False
        self.parts = [part for part in self.parts if part not in chosen]
        self.parts.sort(key=lambda part: min(part.replaces, default=part.number))
        return True

    def sweep(self, *, at_once: bool = False) -> None:
        """Remove replaced parts that no reader can be using any more, oldest first."""
        now = time.monotonic()
        while self._removals and (at_once or self._removals[0][0] <= now):
            self._removals.pop(0)[1].unlink(missing_ok=True)

    @property
    def sweeping(self) -> bool:
        """Whether something is still to be removed. Never blocks."""
        return bool(self._removals)

    def _put_aside(self, path: Path) -> None:
        """Rename a replaced part so that no reader finds it, and note that it is to be removed."""
        aside = parts.aside(path)
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            pass  # it has the other name already
        except OSError as error:  # it counts as replaced all the same; the next start tries again
            logger.error("%s was replaced and is still there: %s", path, error)
            return
        if all(aside != known for _, known in self._removals):
            self._removals.append((time.monotonic() + part_list.KEEP_REPLACED_S, aside))

    def _in_place(self, part: Part) -> Part:
        """Return a part that counts, under its own name: its replacement may never have become durable."""
        path = parts.own_name(part.path)
        if path != part.path:
            os.rename(part.path, path)
        return replace(part, path=path)

    @staticmethod
    def _is_there(path: Path) -> bool:
        return path.exists() or parts.aside(path).exists()

    def _path(self, number: int) -> Path:
        return self._folder / f"part-{self._collector}-{number}.parquet"

    def _choice(self) -> list[Part]:
        for level in sorted({part.level for part in self.parts}):
            same = [part for part in self.parts if part.level == level][:MERGE_COUNT]
            if len(same) == MERGE_COUNT and sum(part.rows for part in same) <= MAX_MERGED_ROWS:
                return same
        return []

    def _write(
        self,
        level: int,
        pieces: Sequence[Rows] | Iterator[Rows],
        spans: Mapping[str, tuple[int, int]],
        calls: int,
        replaces: list[int],
        ranks: Mapping[str, int],
    ) -> None:
        """Write a part and rename it into place, durably."""
        from neural.tracking.collector.store.part_writer import (
            PartWriter,  # loads pyarrow: 60 MB an idle worker saves
        )

        path = self._path(self._next)
        temporary = path.with_name(path.name + ".tmp")
        try:
            writer = PartWriter(
                temporary, collector=self._collector, number=self._next, level=level, ranks=ranks
            )
            try:
                for rows in pieces:
                    writer.add(rows)
                writer.finish(spans, calls=calls, replaces=replaces)
            except BaseException:
                writer.abandon()
                raise
            os.rename(temporary, path)
            for number in replaces:
                self._put_aside(self._path(number))
            fsync_dir(self._folder)
        except OSError as error:
            raise RetryLater(f"cannot write {path}: {error}") from error
        self._next += 1
        self.parts.append(parts.read_footer(path))


def _merged(chosen: Sequence[Part]) -> Iterator[Rows]:
    """Yield the rows of all parts in order, about half a million at a time."""
    readers = [PartReader(part) for part in chosen]
    try:
        for window in _windows(chosen):
            count = sum(part.groups[group].rows for part in chosen for group in window.groups(part))
            if window.metric is not None and count > WINDOW_ROWS:
                yield from _large_metric(readers, window)
            else:
                yield sort(concatenated([rows for reader in readers for rows in _read(reader, window)]))
    finally:
        for reader in readers:
            reader.close()


class _Window(NamedTuple):
    """A range of metric names. An end is (name, 0); 1 means just after the name, -1 just before it."""

    low: tuple[str, int]
    high: tuple[str, int]

    @property
    def metric(self) -> str | None:
        """The only metric in it; None if there may be several."""
        return self.low[0] if self.low == self.high else None

    def holds(self, name: str) -> bool:
        return self.low <= (name, 0) <= self.high

    def groups(self, part: Part) -> list[int]:
        """Return the row groups that overlap it."""
        return [i for i, g in enumerate(part.groups) if (g.first, 0) <= self.high and (g.last, 0) >= self.low]


def _windows(chosen: Sequence[Part]) -> Iterator[_Window]:
    """Yield ranges that together hold every metric; a metric with row groups of its own has its own range."""
    most = MANY_NAMES_ROWS if any(not part.stats for part in chosen) else WINDOW_ROWS
    groups = [group for part in chosen for group in part.groups]
    own = {group.first for group in groups if group.first == group.last}
    shared = [group for group in groups if group.first != group.last]
    bounds = sorted({name for group in groups for name in (group.first, group.last)})
    low = (bounds[0], 0)
    for name, following in zip(bounds, [*bounds[1:], None], strict=True):
        if name in own:
            if low < (name, 0):
                yield _Window(low, (name, -1))
            yield _Window((name, 0), (name, 0))
            low = (name, 1)
        elif following is None:
            yield _Window(low, (name, 0))
        elif sum(g.rows for g in shared if g.first <= name and (g.last, 0) >= low) >= most:
            yield _Window(low, (name, 0))
            low = (name, 1)


def _read(reader: PartReader, window: _Window) -> Iterator[Rows]:
    """Yield the part's rows in the window, row group by row group."""
    for group in window.groups(reader.part):
        rows = group_rows(reader, group)
        inside = np.array([window.holds(name) for name in rows.names], bool)
        yield rows if inside.all() else rows.take(np.flatnonzero(inside[rows.metric]))


def _large_metric(readers: Sequence[PartReader], window: _Window) -> Iterator[Rows]:
    """Yield the rows of one metric that is too large for the memory, some sessions at a time."""
    for wanted in _session_batches(readers, window):
        held: list[Rows] = []
        for reader in readers:
            for rows in _read(reader, window):
                chosen = np.array([name in wanted for name in rows.sessions], bool)
                rows = rows if chosen.all() else rows.take(np.flatnonzero(chosen[rows.session]))
                if len(wanted) == 1 and len(rows):
                    yield sort(rows)  # in a later part, a session has only higher numbers
                else:
                    held.append(rows)
        if len(wanted) > 1:
            yield sort(concatenated(held))


def _session_batches(readers: Sequence[PartReader], window: _Window) -> list[set[str]]:
    """Return all sessions in order, in batches of about half a million rows or one session."""
    counts: dict[str, int] = {}
    for reader in readers:
        for group in window.groups(reader.part):
            names, session = parts.codes(reader.read([group], ["session"]).column("session"))
            for name, count in zip(names, np.bincount(session, minlength=len(names)).tolist(), strict=True):
                counts[name] = counts.get(name, 0) + count
    batches: list[set[str]] = []
    held = WINDOW_ROWS
    for name in sorted(counts):
        if held + counts[name] > WINDOW_ROWS:
            batches.append(set())
            held = 0
        batches[-1].add(name)
        held += counts[name]
    return batches
