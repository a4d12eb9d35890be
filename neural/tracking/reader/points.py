"""A run's points from the parts and tails of all collectors, as columns.

Tails are read before the parts are listed: so points that a compaction moves meanwhile are seen at least once.
The numbers that the parts account for are skipped in the tail. If a file is removed while it is read, its
replacement is already there, and reading starts again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from neural.tracking.errors import DataDamagedError, FormatError
from neural.tracking.formats import ledgers, parts, segment
from neural.tracking.formats.event_stream import Array, MetricBlock
from neural.tracking.formats.events import NO_STEP
from neural.tracking.formats.parts import Part, PartReader
from neural.tracking.formats.tails import Stretch, Tail, collector_of
from neural.tracking.reader import part_list
from neural.tracking.reader.columns import ColumnPiece, Columns, Join
from neural.tracking.reader.last_values import Points, Revisits
from neural.tracking.reader.rank_union import RankUnion, RankUnionBuilder

T = TypeVar("T")

MAX_TRIES = 20


PartPieces = Callable[[Part, str, bool], Iterable[ColumnPiece]]  # part, metric, whether times are needed


class PointFiles:
    """The parts and tails of a ``metrics`` folder as they were at one moment. The methods block on the disk.

    ``damages`` has a text for each damage found. With ``skip``, damaged points are left out, also when a single
    metric is read; without it, reading them raises. Creating it raises FileNotFoundError if a file is removed
    meanwhile: use :func:`retry_if_removed`.
    """

    def __init__(self, folder: Path, *, skip: bool = False) -> None:
        self.damages: list[str] = []
        self.skipped = self.damages if skip else None
        self._folder = folder
        self._claims = ledgers.sizes(folder.parent)  # read first: tails must hold all that the ledgers list
        self._tail_data: list[tuple[Path, bytes]] = []
        for path in sorted(folder.glob("tail-*.seg")):
            self._tail_data.append((path, path.read_bytes()))
        self.parts = part_list.list_parts(folder, self.damages)
        self.stored = part_list.highest(self.parts)
        self.ranks: dict[bytes, int] = {}
        for part in self.parts:
            self.ranks |= part.ranks
        self._tails_read: list[Stretch] | None = None

    def stretches(self) -> list[Stretch]:
        """Return the points in tails that the parts do not have; decoded once and then cached."""
        if self._tails_read is None:
            self._tails_read = []
            for path, data in self._tail_data:
                tail = Tail(data)
                self._tails_read += tail.stretches(part_list.highest(self.parts, collector_of(path.name)))
                for session, (_, info) in tail.infos.items():
                    rank = info.get("rank")
                    self.ranks.setdefault(session, rank if isinstance(rank, int) else 0)
                for damage in tail.damages:
                    self.damages.append(f"{path.name}: bytes {damage.start} to {damage.end} are damaged")
                self.damages += self._shortened(path.name, tail)
            self.damages += self._missing_tails()
        return self._tails_read

    def checked(self) -> PointFiles:
        """Return this object after decoding its tails.

        Raises:
            DataDamagedError: a file is damaged, so that points of any metric may be missing; not with ``skip``.
        """
        self.stretches()
        if self.damages and self.skipped is None:
            raise DataDamagedError(self._folder.parent, self.damages)
        return self

    def _shortened(self, name: str, tail: Tail) -> Iterator[str]:
        """Yield a text if a tail is valid only up to less than its durable size; then data are lost."""
        claim = self._claims.get(collector_of(name))
        of_this = claim is not None and claim.tail_uuid == tail.uuid.hex()
        if claim is not None and of_this and tail.end < claim.tail_bytes and not tail.damages:
            yield f"{name}: is valid up to byte {tail.end}, {claim.tail_bytes} were durable"

    def _missing_tails(self) -> Iterator[str]:
        present = {path.name for path, _ in self._tail_data}
        for collector, claim in self._claims.items():
            name = f"tail-{collector}.seg"
            if claim.tail_bytes > segment.HEADER_BYTES and name not in present:
                yield f"{name}: is missing"

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
            name: the metric's name; an unknown one gives empty columns.
            pieces_of: returns a part's pieces instead of :func:`part_pieces`, for callers with a cache.
            rank: only the points of this rank.
            timed: with False, ``time_ns`` and ``seq`` may be 0 if there is a single session; this is faster,
                since they are not read.

        Raises:
            FormatError: a part is damaged where the metric's points are.
        """
        pieces = self.pieces(name, pieces_of, timed=timed)
        if rank is not None:
            pieces = (piece for piece in pieces if piece.rank == rank)
        return self.joined(name, pieces, self.room(name), timed=timed)

    def united(
        self, name: str, pieces_of: PartPieces | None = None, *, timed: bool = True
    ) -> Columns | RankUnion:
        """Return one point for each step over several ranks; for one rank, its points like :meth:`metric`.

        Only the last point of a rank at each step counts, so a rank that logs more often has no more weight.

        Raises:
            FormatError: a part is damaged where the metric's points are.
        """
        pieces = self.pieces(name, pieces_of, timed=timed)
        first, second = self._first_rank(name, pieces, timed)
        if second is None:
            return first
        uniting, revisits = RankUnionBuilder(), Revisits()
        for rank, _, some in _all_ranks(first, itertools.chain([second], pieces)):
            some = revisits.scan(rank, some)
            if not revisits.any:
                uniting.add(some.step, some.value, some.time_ns)
        return self._revisited(name, pieces_of, timed, revisits) if revisits.any else uniting.united()

    def _revisited(
        self, name: str, pieces_of: PartPieces | None, timed: bool, revisits: Revisits
    ) -> Columns | RankUnion:
        """Return the ranks united; ``revisits`` has scanned all points for steps to which ranks returned."""
        pieces = self.pieces(name, pieces_of, timed=timed)
        first, second = self._first_rank(name, pieces, timed)
        uniting = RankUnionBuilder()
        for rank, session, some in _all_ranks(first, itertools.chain([second] if second else [], pieces)):
            once = revisits.separate(rank, session, some)
            uniting.add(once.step, once.value, once.time_ns)
        for some in revisits.last_points():
            uniting.add(some.step, some.value, some.time_ns)
        return uniting.united()

    def _first_rank(
        self, name: str, pieces: Iterator[ColumnPiece], timed: bool
    ) -> tuple[Columns, ColumnPiece | None]:
        """Return the points before the first piece of a second rank, and that piece, None if there is none."""
        of_one = Join(self.room(name), self._times_needed(timed))
        for piece in pieces:
            if of_one.rank not in (None, piece.rank):
                return of_one.columns(name), piece
            of_one.add(piece)
        return of_one.columns(name), None

    def room(self, name: str) -> int:
        """Return an upper bound for the number of the metric's points."""
        stretches = self.stretches()
        stored = sum(part.groups[group].rows for part in self.parts for group in part.holding(name))
        return stored + sum(len(b.seq) for stretch in stretches for b in stretch.blocks if name in b.names)

    def pieces(
        self, name: str, pieces_of: PartPieces | None = None, *, timed: bool = True
    ) -> Iterator[ColumnPiece]:
        """Yield the metric's points, a row group or a tail batch at a time; arguments as for :meth:`metric`."""
        timed = self._times_needed(timed)
        for part in self.parts:
            yield from (
                pieces_of(part, name, timed)
                if pieces_of
                else part_pieces(part, name, timed=timed, skipped=self.skipped)
            )
        for stretch in self.stretches():
            for block in stretch.blocks:
                if name in block.names:
                    yield _block_piece(stretch.session, self.ranks.get(stretch.session, 0), block, name)

    def joined(self, name: str, pieces: Iterable[ColumnPiece], room: int, *, timed: bool = True) -> Columns:
        """Join pieces of the metric, with ``room`` points at most, into columns like :meth:`metric`."""
        join = Join(room, self._times_needed(timed))
        for piece in pieces:
            join.add(piece)
        return join.columns(name)

    def _times_needed(self, timed: bool) -> bool:
        return timed or len(self.ranks) > 1


def retry_if_removed(read: Callable[[], T]) -> T:
    """Return the result of ``read()``; call it again if a file was removed while it was read.

    Raises:
        FileNotFoundError: this happened in each of 20 tries.
    """
    for _ in range(MAX_TRIES - 1):
        try:
            return read()
        except FileNotFoundError:
            continue
    return read()


def part_pieces(
    part: Part, metric: str, *, timed: bool = True, skipped: list[str] | None = None
) -> Iterator[ColumnPiece]:
    """Yield a part's points of a metric, session by session; a part never changes.

    Args:
        part: the part.
        metric: the name.
        timed: with False, ``time_ns`` and ``seq`` are 0.
        skipped: receives a text for each damaged row group, which is left out.

    Raises:
        FormatError: it is damaged where the points are, and ``skipped`` is None.
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
            try:
                table = reader.read([group], columns)
            except FormatError as error:
                parts.skip_damage(error, skipped)
                continue
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
                yield ColumnPiece(only.hex(), part.ranks[only], value, step, time_ns, seq)
                continue
            names, codes = parts.codes(table.column("session"))
            codes = codes[which]
            for index, name in enumerate(names):
                span = slice(*np.searchsorted(codes, [index, index + 1])) if _rising(codes) else codes == index
                if len(value[span]):
                    rank = part.ranks.get(bytes.fromhex(name), 0)
                    yield ColumnPiece(name, rank, value[span], step[span], time_ns[span], seq[span])


def _all_ranks(first: Columns, rest: Iterable[ColumnPiece]) -> Iterator[tuple[int, str, Points]]:
    """Yield rank, session and points: first those of the first rank's columns, then the other pieces."""
    for code, session in enumerate(first.sessions):
        mine = first if len(first.sessions) == 1 else first.take(np.flatnonzero(first.session == code))
        if len(mine):
            yield int(mine.rank[0]), session, Points(mine.step, mine.value, mine.time_ns, mine.seq)
    for piece in rest:
        yield piece.rank, piece.session, Points(piece.step, piece.value, piece.time_ns, piece.seq)


def _rising(codes: Array) -> bool:
    return bool(np.all(codes[1:] >= codes[:-1]))


def _block_piece(session: bytes, rank: int, block: MetricBlock, metric: str) -> ColumnPiece:
    column = block.names.index(metric)
    return ColumnPiece(
        session.hex(),
        rank,
        block.values[:, column],
        block.step,
        block.time_ns,
        block.seq.astype(np.int64),
    )
