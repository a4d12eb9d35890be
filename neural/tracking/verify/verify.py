"""Proves conservation on the user's own disk: for every session, ``{1..n}`` = stored ⊎ gaps.

Footers and ledgers are claims: points, lines and gaps are counted and compared with them. ``n`` is the highest
number in end event, orderly end, ledger, part footers, points and lines (for a whole ``base_dir`` also in
outboxes and log). A live run may be verified: the order of reading ensures that events which move meanwhile are
seen at least once. Nothing is written. If a run is intact, :func:`verify_base` removes its replaced parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neural.tracking.artifacts.check import Checker
from neural.tracking.artifacts.report import ArtifactReport, check_artifacts
from neural.tracking.core.exit_status import EXIT_INTEGRITY, EXIT_LEFT, EXIT_OK
from neural.tracking.errors import FormatError
from neural.tracking.formats import ledgers, parts
from neural.tracking.formats.parts import Part, PartReader
from neural.tracking.formats.tails import Tail, collector_of
from neural.tracking.reader import facts, ledger_check, part_list
from neural.tracking.reader.json_views import wrong_views
from neural.tracking.reader.points import retry_if_removed
from neural.tracking.reader.run import Run
from neural.tracking.reader.run_list import list_runs
from neural.tracking.state.tombstones import RUN_DELETED
from neural.tracking.verify.counts import Count, Counts, NumberSet, Spans
from neural.tracking.verify.pending import Pending, find_pending


@dataclass
class SessionReport:
    """The account of one session. ``missing``: numbers that are neither stored nor in a gap nor pending."""

    session: str
    rank: int = 0
    n: int = 0
    stored: int = 0
    gaps: list[tuple[int, int, str]] = field(default_factory=list)
    missing: Spans = field(default_factory=list)
    doubled: Spans = field(default_factory=list)
    pending: Spans = field(default_factory=list)
    ended: bool = False
    open_gap: str | None = None  # why an unknown number of events after n may have been emitted


@dataclass
class RunReport:
    """The account of one run: its sessions, and its damaged or contradictory files."""

    folder: Path
    sessions: list[SessionReport] = field(default_factory=list)
    damages: list[str] = field(default_factory=list)
    artifacts: ArtifactReport = field(default_factory=ArtifactReport)
    wrong_views: list[str] = field(default_factory=list)  # no data is lost with them: they can be rebuilt
    removed: bool = False  # the run was removed: the account is of events that arrived later
    cleared: list[str] = field(default_factory=list)  # replaced parts that were removed

    @property
    def exit_code(self) -> int:
        """0: everything is stored or a gap; 3: something is pending; 6: something is missing or damaged."""
        if self.damages or self.artifacts.damages or any(s.missing or s.doubled for s in self.sessions):
            return EXIT_INTEGRITY
        waits = self.artifacts.waiting or any(s.pending for s in self.sessions)
        return EXIT_LEFT if waits else EXIT_OK


@dataclass
class Report:
    """The accounts of all verified runs, and the damages in outboxes, log and quarantine."""

    runs: list[RunReport] = field(default_factory=list)
    damages: list[str] = field(default_factory=list)
    unseen: str | None = None  # a text that says what could not be read

    @property
    def exit_code(self) -> int:
        """The highest of the runs' exit codes; 6 also if outboxes or log are damaged."""
        worst = EXIT_INTEGRITY if self.damages else EXIT_OK
        return max([worst, *(run.exit_code for run in self.runs)])


def verify_run(folder: Path | str) -> RunReport:
    """Return the account of one run folder anywhere. Blocks: reads every byte of its metrics and lines.

    Raises:
        OSError: it cannot be read.
    """
    return account(Path(folder), {})


def account(folder: Path, before: Counts) -> RunReport:
    """Return a run's account; ``before`` has the counts of its sessions in outboxes and log.

    Blocks and raises like :func:`verify_run`.
    """
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such run folder", str(folder))

    def attempt() -> tuple[Counts, list[str]]:
        damages: list[str] = []
        counts: Counts = {}
        _count_points(folder / "metrics", counts, damages)
        _count_lines(folder, counts, damages)
        return counts, damages

    # Ledgers first: the files that are read after them must hold everything that the ledgers list.
    damages: list[str] = []
    claims = ledgers.read_all(folder, damages)
    counts, found = retry_if_removed(attempt)
    damages += [*ledger_check.contradictions(folder, claims), *found]
    for ledger in claims.values():
        for session, entry in ledger.sessions.items():
            count = counts.setdefault(session, Count())
            count.claim(max(entry.last, entry.ended or 0))
            count.introduced = True
    for session, waiting in before.items():
        count = counts.setdefault(session, Count())
        count.pending = waiting.pending
        count.claim(waiting.claimed)
    damages += [
        f"{count.holder.name}: holds session {session[:8]}, which does not belong to this run"
        for session, count in sorted(counts.items())
        if count.holder and not count.introduced
    ]
    sessions = [_session_report(session, counts[session]) for session in sorted(counts)]
    return RunReport(folder, sessions, damages)


def _session_report(session: str, count: Count) -> SessionReport:
    stored = count.stored.without(count.bad)
    gaps = NumberSet([(first, last) for first, last, _ in count.gaps])
    highest = (count.claimed, stored.highest(), gaps.highest(), count.pending.highest())
    n = max(highest)
    every = NumberSet([(1, n)] if n else [])
    return SessionReport(
        session=session,
        rank=count.rank,
        n=n,
        stored=stored.count(n),
        gaps=merged_gaps(count.gaps, stored),
        missing=every.without(stored, gaps, count.pending).spans(),
        doubled=count.doubled.spans(),
        pending=count.pending.without(stored, gaps).spans(),
        ended=count.ended,
        open_gap=count.open_gap,
    )


def merged_gaps(gaps: list[tuple[int, int, str]], stored: NumberSet) -> list[tuple[int, int, str]]:
    """Return the union of gaps without stored numbers: (first, last, reason), sorted and without overlaps."""
    left, by_reason = NumberSet(), dict[str, Spans]()
    for first, last, reason in gaps:
        by_reason.setdefault(reason, []).append((first, last))
    found = []
    for reason, spans in sorted(by_reason.items()):
        found += [(first, last, reason) for first, last in NumberSet(spans).without(stored, left).spans()]
        left.add_spans(spans)
    return sorted(found)


def _count_points(folder: Path, counts: Counts, damages: list[str]) -> None:
    tails = [(path, path.read_bytes()) for path in sorted(folder.glob("tail-*.seg"))]
    found = part_list.list_parts(folder, damages)
    for part in found:
        _count_part(part, counts, damages)
        for session, (_, last) in part.sessions.items():
            counts.setdefault(session.hex(), Count()).claim(last, part.path)
    for path, data in tails:
        tail = Tail(data)
        for stretch in tail.stretches(part_list.highest(found, collector_of(path.name))):
            count = counts.setdefault(stretch.session.hex(), Count())
            for block in stretch.blocks:
                count.store(block.seq.astype(np.int64))
            count.claim(stretch.last, path)
        damages += [f"{path.name}: bytes {start} to {end} are damaged" for start, end in tail.damages]


def _count_part(part: Part, counts: Counts, damages: list[str]) -> None:
    """Count the numbers of a part's points and check every byte of it."""
    found: dict[str, NumberSet] = {}
    rows = 0
    previous: tuple[str, str, int] = ("", "", 0)
    with PartReader(part) as reader:
        for group in range(len(part.groups)):
            intact = _check_group(reader, group, damages)
            try:
                table = reader.read([group], ("metric", "session", "seq"))
            except FormatError:
                continue  # already reported; its numbers are missing unless another group has them
            metrics, metric = parts.codes(table.column("metric"))
            sessions, session = parts.codes(table.column("session"))
            seq = parts.integers(table.column("seq"), 0)
            rows += len(seq)
            repeated = _repeated(metric, session, seq)
            first = (metrics[metric[0]], sessions[session[0]], int(seq[0]))
            for index, name in enumerate(sessions):
                own = session == index
                if intact:
                    found.setdefault(name, NumberSet()).add(seq[own])
                else:
                    counts.setdefault(name, Count()).bad.add(seq[own])
                counts.setdefault(name, Count()).doubled.add(seq[own & repeated])
            if first == previous:
                counts[first[1]].doubled.add(seq[:1])
            previous = (metrics[metric[-1]], sessions[session[-1]], int(seq[-1]))
    if rows != part.rows and not damages:
        damages.append(f"{part.path.name}: has {rows} points, its footer says {part.rows}")
    for name, numbers in found.items():
        count = counts.setdefault(name, Count())
        count.store_all(numbers)


def _check_group(reader: PartReader, group: int, damages: list[str]) -> bool:
    """Check all columns of a row group; return whether they are intact."""
    intact = True
    for column in parts.COLUMNS:
        try:
            reader.check(group, [column])
        except FormatError as error:
            damages.append(str(error))
            intact = False
    return intact


def _repeated(metric: Any, session: Any, seq: Any) -> npt.NDArray[np.bool_]:
    """Return at which points metric, session and number are those of the previous point."""
    repeated = np.zeros(len(seq), bool)
    repeated[1:] = (metric[1:] == metric[:-1]) & (session[1:] == session[:-1]) & (seq[1:] == seq[:-1])
    return repeated


def _count_lines(folder: Path, counts: Counts, damages: list[str]) -> None:
    numbers: dict[str, list[int]] = {}
    for line in facts.read_lines(folder, damages):
        count = counts.setdefault(line["session"], Count())
        if "seq" in line:
            numbers.setdefault(line["session"], []).append(line["seq"])
            if line["kind"] == "end":
                count.claim(line["seq"])
                count.ended = True
        elif "gap" in line:
            first, last = line["gap"]
            count.gaps.append((first, last, line["reason"]))
        elif "note" in line:
            count.claim(line["data"].get("n") if line["note"] == "bye" else 0)
            count.ended = count.ended or line["note"] in ("bye", "died")
            count.open_gap = count.open_gap or line["data"].get("open_gap")
        elif "info" in line:
            count.introduced = True
            rank = line["info"].get("rank")
            count.rank = rank if isinstance(rank, int) else 0
    for session, seen in numbers.items():
        counts[session].store(np.array(seen, np.uint64))


def verify_base(
    base_dir: Path | str, runs: Sequence[Run] | None = None, begin: Callable[[Path], None] = lambda folder: None
) -> Report:
    """Return the accounts of runs, including the events that are still in log and outboxes. Blocks.

    Args:
        base_dir: the folder of the runs.
        runs: the runs to verify, anywhere; default all runs, also those without a folder yet.
        begin: called with each folder before it is read.

    Raises:
        OSError: the log or the outboxes cannot be read.
    """
    base = Path(base_dir)
    waiting = find_pending(base)
    report = Report(damages=waiting.damages, unseen=waiting.unseen)
    checker = Checker()
    seen: dict[bytes, Path] = {}
    for run in list_runs(base) if runs is None else runs:
        begin(run.folder)
        try:
            found = account(run.folder, waiting.runs.get(run.uid, {}))
            if run.uid in seen:
                found.damages.append(f"holds the same run as {seen[run.uid].name}: one is a copy")
            seen[run.uid] = run.folder
            found.artifacts = check_artifacts(run.folder, checker)
            if found.exit_code != EXIT_INTEGRITY:
                found.cleared = part_list.clear_replaced(run.folder / "metrics")
            if found.exit_code == EXIT_OK and found.sessions and all(s.ended for s in found.sessions):
                found.wrong_views = wrong_views(Run(run.folder))
        except (OSError, FormatError) as error:
            found = RunReport(run.folder, damages=[f"cannot be read: {error}"])
        report.runs.append(found)
    for uid, counts in waiting.runs.items() if runs is None else ():
        if uid not in seen:
            folder = base / waiting.folders.get(uid, uid.hex())
            sessions = [_session_report(session, counts[session]) for session in sorted(counts)]
            if any(session.n for session in sessions):  # otherwise it was moved away, and nothing waits
                report.runs.append(RunReport(folder, sessions))
    if runs is None:
        report.runs += _removed(base, waiting)
    return report


def _removed(base: Path, waiting: Pending) -> Iterator[RunReport]:
    """Yield the accounts of removed runs of which events arrived after the removal."""
    for uid, sessions in sorted(waiting.late.items()):
        stone = waiting.stones.get(uid)
        reports = [
            SessionReport(
                session=session,
                rank=late.rank,
                n=late.n,
                gaps=[(1, late.n, RUN_DELETED)] if late.n else [],
                ended=late.exact,
                open_gap=None if late.exact else RUN_DELETED,
            )
            for session, late in sorted(sessions.items())
        ]
        folder = stone.folder if stone is not None and stone.folder else uid.hex()[:8]
        yield RunReport(base / folder, reports, removed=True)
