"""A run's points, united from every collector's parts and tails, as columns.

A tail is opened before the parts are listed: what a compaction moves meanwhile is then seen at least
once, and numbers the parts account for are skipped in the tail. A file that goes away while it is
being read (its replacement is in place) means starting over.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from neural.tracking.events import NO_STEP, MetricBlock
from neural.tracking.reader import parts
from neural.tracking.reader.parts import Part, PartReader
from neural.tracking.reader.revisits import Points, Revisits
from neural.tracking.reader.rows import steady
from neural.tracking.reader.tails import Stretch, Tail, collector_of
from neural.tracking.reader.united import United, Uniting

Array = npt.NDArray[Any]
T = TypeVar("T")

MAX_TRIES = 20


@dataclass(frozen=True)
class Columns:
    """Points of one metric, in order: arrays of one length.

    ``step`` int64 (``NO_STEP`` where the call gave none), ``value`` float64, ``time_ns`` int64, ``rank``
    int32, ``session`` int32 (index into ``sessions``, hex), ``seq`` int64. Where ranks were united,
    ``rank`` and ``session`` are -1 and ``seq`` is 0.
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
class Piece:
    """Points of one session, in the order of their numbers; what :class:`Columns` are joined from."""

    session: str
    rank: int
    value: Array
    step: Array
    time_ns: Array
    seq: Array

    def take(self, which: Array) -> Piece:
        """Return only these points."""
        columns = (self.value, self.step, self.time_ns, self.seq)
        return Piece(self.session, self.rank, *(column[which] for column in columns))


PartPieces = Callable[[Part, str, bool], Iterable[Piece]]  # part, metric, whether times are wanted


class PointFiles:
    """The parts and tails of a ``metrics`` folder as they were at one moment."""

    def __init__(self, folder: Path) -> None:
        self.damages: list[str] = []
        self._tail_data: list[tuple[Path, bytes]] = []
        for path in sorted(folder.glob("tail-*.seg")):
            self._tail_data.append((path, path.read_bytes()))
        self.parts = parts.list_parts(folder, self.damages)
        self.stored = parts.highest(self.parts)
        self.ranks: dict[bytes, int] = {}
        for part in self.parts:
            self.ranks |= part.ranks
        self._tails_read: list[Stretch] | None = None

    def stretches(self) -> list[Stretch]:
        """Return what the tails hold beyond the parts, decoded once."""
        if self._tails_read is None:
            self._tails_read = []
            for path, data in self._tail_data:
                tail = Tail(data)
                self._tails_read += tail.stretches(parts.highest(self.parts, collector_of(path.name)))
                for session, (_, info) in tail.infos.items():
                    rank = info.get("rank")
                    self.ranks.setdefault(session, rank if isinstance(rank, int) else 0)
                for damage in tail.damages:
                    self.damages.append(f"{path.name}: bytes {damage.start} to {damage.end} are damaged")
        return self._tails_read

    def metric(
        self,
        name: str,
        pieces_of: PartPieces | None = None,
        *,
        rank: int | None = None,
        timed: bool = True,
    ) -> Columns:
        """Return the metric's points: a single session in the order of its numbers, several by time.

        Args:
            name: as it was logged.
            pieces_of: gives a part's pieces instead of :func:`part_pieces`, for who keeps them.
            rank: only the points of this one.
            timed: False lets ``time_ns`` and ``seq`` of a single session be 0: its parts are in order as
                they are, and what is not read is not decoded.

        Raises:
            FormatError: a part is damaged where the metric's points are.
        """
        pieces = self.pieces(name, pieces_of, timed=timed)
        if rank is not None:
            pieces = (piece for piece in pieces if piece.rank == rank)
        return self.joined(name, pieces, self.room(name), timed=timed)

    def united(self, name: str, pieces_of: PartPieces | None = None, *, timed: bool = True) -> Columns | United:
        """Return what several ranks logged as one point a step; of one rank its points as :meth:`metric` does.

        Of what a rank logged at one step only the last counts: whoever logs more often weighs no more.

        Raises:
            FormatError: a part is damaged where the metric's points are.
        """
        pieces = self.pieces(name, pieces_of, timed=timed)
        first, second = self._first_rank(name, pieces, timed)
        if second is None:
            return first
        uniting, revisits = Uniting(), Revisits()
        for rank, _, some in _all_ranks(first, itertools.chain([second], pieces)):
            some = revisits.look(rank, some)
            if not revisits.any:
                uniting.add(some.step, some.value, some.time_ns)
        return self._revisited(name, pieces_of, timed, revisits) if revisits.any else uniting.united()

    def _revisited(
        self, name: str, pieces_of: PartPieces | None, timed: bool, revisits: Revisits
    ) -> Columns | United:
        """Return the ranks united, once it is known which steps some of them went back to."""
        pieces = self.pieces(name, pieces_of, timed=timed)
        first, second = self._first_rank(name, pieces, timed)
        uniting = Uniting()
        for rank, session, some in _all_ranks(first, itertools.chain([second] if second else [], pieces)):
            once = revisits.sort_out(rank, session, some)
            uniting.add(once.step, once.value, once.time_ns)
        for some in revisits.settled():
            uniting.add(some.step, some.value, some.time_ns)
        return uniting.united()

    def _first_rank(self, name: str, pieces: Iterator[Piece], timed: bool) -> tuple[Columns, Piece | None]:
        """Return the points up to the first of another rank, and the piece that begins with it."""
        of_one = _Join(self.room(name), self._times_needed(timed))
        for piece in pieces:
            if of_one.rank not in (None, piece.rank):
                return of_one.columns(name), piece
            of_one.add(piece)
        return of_one.columns(name), None

    def room(self, name: str) -> int:
        """Return how many points of the metric there can be."""
        stretches = self.stretches()
        stored = sum(part.groups[group].rows for part in self.parts for group in part.holding(name))
        return stored + sum(len(b.seq) for stretch in stretches for b in stretch.blocks if name in b.names)

    def pieces(self, name: str, pieces_of: PartPieces | None = None, *, timed: bool = True) -> Iterator[Piece]:
        """Yield the metric's points, a row group or a batch of the tail at a time; as :meth:`metric`."""
        timed = self._times_needed(timed)
        for part in self.parts:
            yield from pieces_of(part, name, timed) if pieces_of else part_pieces(part, name, timed=timed)
        for stretch in self.stretches():
            for block in stretch.blocks:
                if name in block.names:
                    yield _block_piece(stretch.session, self.ranks.get(stretch.session, 0), block, name)

    def joined(self, name: str, pieces: Iterable[Piece], room: int, *, timed: bool = True) -> Columns:
        """Return pieces of the metric, at most ``room`` points of them, as :meth:`metric` does."""
        join = _Join(room, self._times_needed(timed))
        for piece in pieces:
            join.add(piece)
        return join.columns(name)

    def _times_needed(self, timed: bool) -> bool:
        return timed or len(self.ranks) > 1


def started_over(read: Callable[[], T]) -> T:
    """Return what ``read`` returns; repeat it when a file went away under it.

    Raises:
        FileNotFoundError: files went away every time.
    """
    for _ in range(MAX_TRIES - 1):
        try:
            return read()
        except FileNotFoundError:
            continue
    return read()


def part_pieces(part: Part, metric: str, *, timed: bool = True) -> Iterator[Piece]:
    """Yield a part's points of a metric, session by session; a part never changes.

    Raises:
        FormatError: it is damaged where the points are.
    """
    groups = part.holding(metric)
    if not groups:
        return
    only = next(iter(part.sessions)) if len(part.sessions) == 1 else None
    with PartReader(part) as reader:
        for group in groups:
            mixed = part.groups[group].first != part.groups[group].last
            columns = ["value", "step"]
            columns += ["seq", "time"] if timed else []
            columns += ["metric"] if mixed else []
            columns += [] if only else ["session"]
            table = reader.read([group], columns)
            which: Array | slice = slice(None)
            if mixed:
                names, codes = parts.codes(table.column("metric"))
                if metric not in names:
                    continue
                which = codes == names.index(metric)
            value, step = (parts.integers(table.column(name), NO_STEP)[which] for name in columns[:2])
            seq: Array = np.broadcast_to(np.int64(0), len(value))
            time_ns = seq
            if timed:
                seq, time_ns = (parts.integers(table.column(name), NO_STEP)[which] for name in ("seq", "time"))
            if only:
                yield Piece(only.hex(), part.ranks[only], value, step, time_ns, seq)
                continue
            names, codes = parts.codes(table.column("session"))
            codes = codes[which]
            for index, name in enumerate(names):
                span = slice(*np.searchsorted(codes, [index, index + 1])) if _rising(codes) else codes == index
                if len(value[span]):
                    rank = part.ranks.get(bytes.fromhex(name), 0)
                    yield Piece(name, rank, value[span], step[span], time_ns[span], seq[span])


def _all_ranks(first: Columns, rest: Iterable[Piece]) -> Iterator[tuple[int, str, Points]]:
    """Yield rank, session and points of what was joined of the first rank, then of the rest."""
    for code, session in enumerate(first.sessions):
        mine = first if len(first.sessions) == 1 else first.take(np.flatnonzero(first.session == code))
        if len(mine):
            yield int(mine.rank[0]), session, Points(mine.step, mine.value, mine.time_ns, mine.seq)
    for piece in rest:
        yield piece.rank, piece.session, Points(piece.step, piece.value, piece.time_ns, piece.seq)


def _rising(codes: Array) -> bool:
    return bool(np.all(codes[1:] >= codes[:-1]))


def _block_piece(session: bytes, rank: int, block: MetricBlock, metric: str) -> Piece:
    column = block.names.index(metric)
    return Piece(
        session.hex(),
        rank,
        block.values[:, column],
        block.step,
        block.time_ns,
        block.seq.astype(np.int64),
    )


class _Join:
    """Fills columns piece by piece, into room for the most there can be: untouched pages cost nothing."""

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
        """Whose points were added last; None before there are any."""
        return self._runs[-1][1] if self._runs else None

    def add(self, piece: Piece) -> None:
        start, self._end = self._end, self._end + len(piece.seq)
        self._step[start : self._end] = piece.step
        self._value[start : self._end] = piece.value
        self._seq[start : self._end] = piece.seq
        if self._time_ns.flags.writeable:
            self._time_ns[start : self._end] = piece.time_ns
        code = self._sessions.setdefault(piece.session, len(self._sessions))
        self._runs.append((code, piece.rank, len(piece.seq)))

    def columns(self, metric: str) -> Columns:
        """Return what was added: a single session in the order of its numbers, several by time."""
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
            # By session first, stable: then equal times stand in the order of session and number.
            found = found.take(np.argsort(session, kind="stable"))
        back = found.seq[1:] < found.seq[:-1]
        if len(sessions) > 1:
            back &= found.session[1:] == found.session[:-1]
        if back.any():  # two schemas in one batch
            found = found.take(np.lexsort((found.seq, found.session)))
        if len(sessions) > 1:
            found = found.take(np.argsort(steady(found.time_ns, found.session), kind="stable"))
        return found


def one_a_step(name: str, found: United, how: str) -> Columns:
    """Return the ``mean``, ``min`` or ``max`` of the ranks as columns; raises KeyError for another ``how``."""
    nobody = np.broadcast_to(np.int32(-1), len(found.step))
    return Columns(
        name,
        found.step,
        {"mean": found.mean, "min": found.low, "max": found.high}[how],
        found.time_ns,
        nobody,
        nobody,
        np.broadcast_to(np.int64(0), len(found.step)),
    )
