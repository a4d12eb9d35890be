"""Replays a run's events from its folder, as they were emitted, for delivery to a sink.

Within a session the order is that of the numbers. The caller chooses the numbers: above those it has, and up to
those that the run's ledgers list as durable. So no event is lost between the folder and the collector's log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neural.tracking.errors import FormatError
from neural.tracking.formats import ledgers
from neural.tracking.formats.events import NO_STEP
from neural.tracking.formats.parts import Part, PartReader
from neural.tracking.reader import facts, rows
from neural.tracking.reader.points import MAX_TRIES, PointFiles, retry_if_removed
from neural.tracking.reader.rows import Rows

logger = logging.getLogger(__name__)

CHUNK_ROWS = 50_000


class Emitted(NamedTuple):
    """One numbered event; ``data`` of a metrics event maps names to values."""

    session: str
    seq: int
    time_ns: int
    step: int | None
    kind: str
    data: dict[str, Any]


def durable_numbers(folder: Path) -> dict[str, int]:
    """Return the last durable number of each session (hex) in the folder, from its ledgers. Blocks briefly."""
    last: dict[str, int] = {}
    for ledger in ledgers.read_all(folder, []).values():
        for session, entry in ledger.sessions.items():
            last[session] = max(entry.last, last.get(session, 0))
    return last


def emitted(folder: Path, after: Mapping[str, int], upto: Mapping[str, int]) -> Iterator[Emitted]:
    """Yield the events of the sessions in ``upto``, from ``after`` (excluded) to ``upto`` (included).

    Damaged events are left out and logged as errors; ``ntrack verify`` names them. Blocks: reads the files.
    """
    waiting = _lines(folder, after, upto)
    for points in _points(folder, after, upto):
        yield from _before(waiting.get(points.session, []), points.seq)
        yield points
    for lines in waiting.values():
        yield from reversed(lines)


def _before(lines: list[Emitted], seq: int) -> Iterator[Emitted]:
    """Remove the events before number ``seq`` from the end of ``lines`` and yield them."""
    while lines and lines[-1].seq < seq:
        yield lines.pop()


def _lines(folder: Path, after: Mapping[str, int], upto: Mapping[str, int]) -> dict[str, list[Emitted]]:
    """Return the events that are not metrics by session, in descending order: ``pop()`` gives the next."""
    found: dict[str, dict[int, Emitted]] = {}
    damages: list[str] = []
    for line in facts.read_lines(folder, damages):
        session = line["session"]
        if "seq" in line and after.get(session, 0) < line["seq"] <= upto.get(session, 0):
            event = Emitted(session, line["seq"], line["time_ns"], line["step"], line["kind"], line["data"])
            found.setdefault(session, {})[event.seq] = event
    for damage in damages:
        logger.error("damaged events were left out: %s: %s", folder.name, damage)
    return {session: [events[seq] for seq in sorted(events, reverse=True)] for session, events in found.items()}


def _points(folder: Path, after: Mapping[str, int], upto: Mapping[str, int]) -> Iterator[Emitted]:
    seen = dict(after)
    for _ in range(MAX_TRIES - 1):
        try:
            yield from _stored(folder, seen, upto)
            return
        except FileNotFoundError:  # parts were merged meanwhile: continue with the new ones
            continue
    yield from _stored(folder, seen, upto)


def _stored(folder: Path, seen: dict[str, int], upto: Mapping[str, int]) -> Iterator[Emitted]:
    files = retry_if_removed(lambda: PointFiles(folder / "metrics"))
    for damage in files.damages:
        logger.error("damaged points were left out: %s", damage)
    for part in files.parts:
        wanted = {s.hex() for s, (_, last) in part.sessions.items() if last > seen.get(s.hex(), 0)} & set(upto)
        if wanted:
            yield from _calls(rows.concatenated(_readable(part)), seen, upto)
    gathering = rows.Gathering()
    for stretch in files.stretches():
        for block in stretch.blocks:
            gathering.add(stretch.session.hex(), block)
    yield from _calls(gathering.sorted(), seen, upto)


def _readable(part: Part) -> list[Rows]:
    """Return the part's rows without damaged row groups."""
    found = []
    with PartReader(part) as reader:
        for group in range(len(part.groups)):
            try:
                found.append(rows.group_rows(reader, group))
            except FormatError as error:
                logger.error("damaged points were left out: %s", error)
    return found


def _calls(points: Rows, seen: dict[str, int], upto: Mapping[str, int]) -> Iterator[Emitted]:
    """Yield a metrics event for each call among the points; update ``seen``, the last number by session."""
    for code, session in enumerate(points.sessions):
        mine = (points.session == code) & (points.seq > seen.get(session, 0))
        mine &= points.seq <= upto.get(session, 0)
        which = np.flatnonzero(mine)
        if not len(which):
            continue
        which = which[np.argsort(points.seq[which], kind="stable")]  # keeps the order of a call's metrics
        seen[session] = int(points.seq[which[-1]])
        start = 0
        while start < len(which):
            end = min(start + CHUNK_ROWS, len(which))
            last = points.seq[which[end - 1]]
            end = int(np.searchsorted(points.seq[which], last, side="right"))  # never split a call
            yield from _chunk(points.take(which[start:end]), session)
            start = end


def _chunk(points: Rows, session: str) -> Iterator[Emitted]:
    names = [points.names[code] for code in points.metric.tolist()]
    values, steps, times = points.value.tolist(), points.step.tolist(), points.time.tolist()
    numbers = points.seq.tolist()
    start = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[start]:
            step = None if steps[start] == NO_STEP else steps[start]
            data = dict(zip(names[start:end], values[start:end], strict=True))
            yield Emitted(session, numbers[start], times[start], step, "metrics", data)
            start = end
