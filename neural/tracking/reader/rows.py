"""Points of many metrics as columns: collected from batches or parts, sorted by metric, session, number."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neural.tracking.formats import parts
from neural.tracking.formats.event_stream import Array, MetricBlock
from neural.tracking.formats.events import NO_STEP
from neural.tracking.formats.parts import PartReader

_MAX_PIECES = 4096
_COLUMNS = ("metric", "session", "value", "step", "time", "seq")


@dataclass(frozen=True)
class Rows:
    """Columns of equal length; ``metric`` and ``session`` (int32) are indexes into ``names`` and ``sessions``.

    ``step`` and ``time`` (nanoseconds since 1970) int64, ``value`` float64, ``seq`` int64.
    """

    names: Sequence[str]
    sessions: Sequence[str]
    metric: Array
    session: Array
    value: Array
    step: Array
    time: Array
    seq: Array

    def __len__(self) -> int:
        return len(self.seq)

    def take(self, which: Array | slice) -> Rows:
        """Return the rows at these positions."""
        return Rows(self.names, self.sessions, *(getattr(self, column)[which] for column in _COLUMNS))


class Gathering:
    """Collects metric blocks; :meth:`sorted` returns all their points and empties the collection."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._sessions: dict[str, int] = {}
        self._pieces: dict[str, list[Array]] = {column: [] for column in _COLUMNS}
        self.rows = 0

    def add(self, session: str, block: MetricBlock) -> None:
        """Add the points of a block; they are copied."""
        count, width = block.values.shape
        names, pieces = self._names, self._pieces
        ids = np.array([names.setdefault(name, len(names)) for name in block.names], np.int32)
        code = self._sessions.setdefault(session, len(self._sessions))
        pieces["metric"].append(np.repeat(ids, count))
        pieces["session"].append(np.full(count * width, code, np.int32))
        pieces["value"].append(block.values.T.ravel())
        pieces["step"].append(np.tile(block.step, width))
        pieces["time"].append(np.tile(block.time_ns, width))
        pieces["seq"].append(np.tile(block.seq.astype(np.int64), width))
        self.rows += count * width
        if len(pieces["seq"]) >= _MAX_PIECES:  # many small arrays would need more memory than their content
            self._pieces = {column: [np.concatenate(arrays)] for column, arrays in pieces.items()}

    def sorted(self) -> Rows:
        """Return all points, sorted by metric, session and number, and empty the collection."""
        if not self.rows:
            return nothing()
        # Copy one column after the other and release each before the next: this limits the store's memory.
        pieces = self._pieces
        names, metric = _in_order(list(self._names), np.concatenate(pieces.pop("metric")))
        sessions, session = _in_order(list(self._sessions), np.concatenate(pieces.pop("session")))
        seq = np.concatenate(pieces.pop("seq"))
        order = _order(metric, session, seq, len(sessions))
        metric, session, seq = metric[order], session[order], seq[order]
        value, step, time = (np.concatenate(pieces.pop(c))[order] for c in ("value", "step", "time"))
        self.__init__()  # type: ignore[misc]
        return Rows(names, sessions, metric, session, value, step, time, seq)


def nothing() -> Rows:
    """Return empty rows."""
    kinds = (np.int32, np.int32, np.float64, np.int64, np.int64, np.int64)
    return Rows([], [], *(np.empty(0, kind) for kind in kinds))


def concatenated(pieces: Sequence[Rows]) -> Rows:
    """Return the rows of all pieces, one after the other, with common names and sessions."""
    names: dict[str, int] = {}
    sessions: dict[str, int] = {}
    columns: list[tuple[Array, ...]] = []
    for piece in pieces:
        name_ids = np.array([names.setdefault(n, len(names)) for n in piece.names], np.int32)
        session_ids = np.array([sessions.setdefault(s, len(sessions)) for s in piece.sessions], np.int32)
        rest = (piece.value, piece.step, piece.time, piece.seq)
        columns.append((name_ids[piece.metric], session_ids[piece.session], *rest))
    if not columns:
        return nothing()
    return Rows(list(names), list(sessions), *(np.concatenate(c) for c in zip(*columns, strict=True)))


def sort(rows: Rows) -> Rows:
    """Return the rows sorted by metric, session and number; ``names`` and ``sessions`` are sorted, too."""
    names, metric = _in_order(rows.names, rows.metric)
    sessions, session = _in_order(rows.sessions, rows.session)
    order = _order(metric, session, rows.seq, len(sessions))
    rest = (column[order] for column in (rows.value, rows.step, rows.time, rows.seq))
    return Rows(names, sessions, metric[order], session[order], *rest)


def _order(metric: Array, session: Array, seq: Array, sessions: int) -> Array:
    key = metric.astype(np.int64) * max(1, sessions) + session
    # The sort is stable: rows that were in the order of their numbers remain so, which is the usual case.
    order: Array = np.argsort(key, kind="stable")
    key, seq = key[order], seq[order]
    if bool(np.any((key[1:] == key[:-1]) & (seq[1:] < seq[:-1]))):
        order = order[np.lexsort((seq, key))]
    return order


def _in_order(texts: Sequence[str], codes: Array) -> tuple[list[str], Array]:
    """Return the sorted texts, and the codes changed to refer to them."""
    order = sorted(range(len(texts)), key=texts.__getitem__)
    rank = np.empty(len(texts), np.int32)
    rank[order] = np.arange(len(texts), dtype=np.int32)
    return [texts[index] for index in order], rank[codes]


def monotonic(time: Array, sessions: Array) -> Array:
    """Return the times for sorting: within a session, each is at least the one before it.

    A clock may jump back; the order within a session must not depend on that.

    Args:
        time: the times of rows; the rows of a session are consecutive, in the order of their numbers.
        sessions: an array whose value changes where the next session begins.
    """
    same = sessions[1:] == sessions[:-1]
    if not np.any(same & (time[1:] < time[:-1])):
        return time
    found = time.copy()
    bounds = [0, *(np.flatnonzero(~same) + 1).tolist(), len(time)]
    for start, end in itertools.pairwise(bounds):
        np.maximum.accumulate(found[start:end], out=found[start:end])
    return found


def group_rows(reader: PartReader, group: int) -> Rows:
    """Return all rows of one row group of a part. Blocks on the disk.

    Raises:
        FormatError: it is damaged.
    """
    table = reader.read([group], ("metric", "value", "step", "time", "session", "seq"))
    names, metric = parts.codes(table.column("metric"))
    sessions, session = parts.codes(table.column("session"))
    numbers = (parts.integers(table.column(name), NO_STEP) for name in ("value", "step", "time", "seq"))
    return Rows(names, sessions, metric, session, *numbers)
