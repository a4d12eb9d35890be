"""Points of one metric as columns, joined from pieces of files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neural.tracking.formats.event_stream import Array
from neural.tracking.reader.rank_union import RankUnion
from neural.tracking.reader.rows import monotonic


@dataclass(frozen=True)
class Columns:
    """Points of one metric, in order: arrays of equal length.

    ``step`` int64 (``NO_STEP`` if the call gave none), ``value`` float64, ``time_ns`` int64 (since 1970),
    ``rank`` int32, ``session`` int32 (an index into ``sessions``, hex ids), ``seq`` int64. If ranks were
    united, ``rank`` and ``session`` are -1 and ``seq`` is 0.
    """

    name: str
    step: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    time_ns: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int32]
    session: npt.NDArray[np.int32]
    seq: npt.NDArray[np.int64]
    sessions: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.value)

    def take(self, which: Array | slice) -> Columns:
        """Return the points at these positions, in this order."""
        return Columns(
            self.name,
            self.step[which],
            self.value[which],
            self.time_ns[which],
            self.rank[which],
            self.session[which],
            self.seq[which],
            self.sessions,
        )


@dataclass(frozen=True)
class ColumnPiece:
    """Points of one session, in the order of their numbers: a piece of :class:`Columns`."""

    session: str
    rank: int
    value: Array
    step: Array
    time_ns: Array
    seq: Array

    def take(self, which: Array) -> ColumnPiece:
        """Return only these points."""
        columns = (self.value, self.step, self.time_ns, self.seq)
        return ColumnPiece(self.session, self.rank, *(column[which] for column in columns))


class Join:
    """Joins pieces into columns.

    Args:
        room: the maximum number of points; it is allocated at once, but unused memory pages cost nothing.
        timed: whether to keep times; else ``time_ns`` is 0.
    """

    def __init__(self, room: int, timed: bool) -> None:
        self._step = np.empty(room, np.int64)
        self._value = np.empty(room)
        self._seq = np.empty(room, np.int64)
        self._time_ns = np.empty(room, np.int64) if timed else np.broadcast_to(np.int64(0), room)
        self._sessions: dict[str, int] = {}
        self._runs: list[tuple[int, int, int]] = []  # session, rank, length
        self._end = 0

    @property
    def rank(self) -> int | None:
        """The rank of the points that were added last; None before the first."""
        return self._runs[-1][1] if self._runs else None

    def add(self, piece: ColumnPiece) -> None:
        """Append the points of a piece; they are copied."""
        start, self._end = self._end, self._end + len(piece.seq)
        self._step[start : self._end] = piece.step
        self._value[start : self._end] = piece.value
        self._seq[start : self._end] = piece.seq
        if self._time_ns.flags.writeable:
            self._time_ns[start : self._end] = piece.time_ns
        code = self._sessions.setdefault(piece.session, len(self._sessions))
        self._runs.append((code, piece.rank, len(piece.seq)))

    def columns(self, metric: str) -> Columns:
        """Return all points: a single session in the order of its numbers, several sessions by time."""
        step, value = self._step[: self._end], self._value[: self._end]
        time_ns, seq = self._time_ns[: self._end], self._seq[: self._end]
        sessions = tuple(sorted(self._sessions))
        place = [sessions.index(session) for session in self._sessions]
        if len(sessions) <= 1:
            rank = np.broadcast_to(np.int32(self._runs[0][1] if self._runs else 0), self._end)
            session = np.broadcast_to(np.int32(0), self._end)
        else:
            sizes = [size for _, _, size in self._runs]
            rank = np.repeat(np.array([rank for _, rank, _ in self._runs], np.int32), sizes)
            session = np.repeat(np.array([place[code] for code, _, _ in self._runs], np.int32), sizes)
        found = Columns(metric, step, value, time_ns, rank, session, seq, sessions)
        if len(sessions) > 1:
            # Sort by session first; the sorts are stable: equal times are in the order of session and number.
            found = found.take(np.argsort(session, kind="stable"))
        back = found.seq[1:] < found.seq[:-1]
        if len(sessions) > 1:
            back &= found.session[1:] == found.session[:-1]
        if back.any():  # a batch with two schemas is not in the order of numbers
            found = found.take(np.lexsort((found.seq, found.session)))
        if len(sessions) > 1:
            found = found.take(np.argsort(monotonic(found.time_ns, found.session), kind="stable"))
        return found


def one_per_step(name: str, found: RankUnion, how: str) -> Columns:
    """Return the ``mean``, ``min`` or ``max`` of the ranks as columns; KeyError for another ``how``."""
    no_rank = np.broadcast_to(np.int32(-1), len(found.step))
    return Columns(
        name,
        found.step,
        {"mean": found.mean, "min": found.low, "max": found.high}[how],
        found.time_ns,
        no_rank,
        no_rank,
        np.broadcast_to(np.int64(0), len(found.step)),
    )
