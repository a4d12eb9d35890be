"""Reading runs from their folders: the one way for tracker, manager, command line and everything else.

A :class:`Run` is cheap to make and reads at first use; each kind of content is a snapshot from then
on, so make a new one to see what a live run has added. Nothing damaged is ever served, nor left out in
silence: reading what is damaged, or what damage may have taken something of, raises
:class:`~neural.tracking.errors.DataDamagedError`. Who the run is and when it began is told all the same.
With ``damaged="skip"`` what is left is read, and :attr:`Run.damages` says what is missing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from neural.tracking.core.times import iso_time
from neural.tracking.errors import DataDamagedError, FormatError
from neural.tracking.formats import ledgers
from neural.tracking.formats.run_file import RunFile, home_names
from neural.tracking.reader import facts, history
from neural.tracking.reader.columns import Columns, one_a_step
from neural.tracking.reader.downsample import Downsampled, sifted
from neural.tracking.reader.facts import RunFacts
from neural.tracking.reader.metric_stats import Stats, step_or_none
from neural.tracking.reader.points import PointFiles, started_over

T = TypeVar("T")
Damaged = Literal["raise", "skip"]


class Run:
    """One run folder, wherever it lies."""

    def __init__(self, folder: Path | str, damaged: Damaged = "raise") -> None:
        """Read ``folder``; raises ValueError where ``damaged`` is neither ``"raise"`` nor ``"skip"``."""
        self.folder = Path(folder)
        self._skips = check_damaged(damaged) == "skip"

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @functools.cached_property
    def _file(self) -> RunFile | None:
        return RunFile.read(self.folder)

    @property
    def facts(self) -> RunFacts:
        """What the events lines say.

        Raises:
            DataDamagedError: some of them are damaged.
        """
        self._check(self._left.damages)
        return self._left

    @functools.cached_property
    def _left(self) -> RunFacts:
        """What those of the events lines say that are whole."""
        return facts.read_facts(self.folder)

    @functools.cached_property
    def _points(self) -> PointFiles:
        return started_over(lambda: PointFiles(self.folder / "metrics", skip=self._skips))

    def _check(self, damages: Sequence[str]) -> None:
        if damages and not self._skips:
            raise DataDamagedError(self.folder, damages)

    @property
    def uid(self) -> bytes:
        """The run's 16-byte identity; empty where nothing in the folder tells it."""
        return self._file.uid if self._file is not None else bytes.fromhex(self._left.uid)

    @property
    def id(self) -> str:
        """The ``experiment_id``: the first 8 hex digits of the uid."""
        return self.uid.hex()[:8]

    @property
    def is_home(self) -> bool:
        """Whether this is the folder that is written to while the run goes on; a copy has another name."""
        return self.folder.name in home_names(self.name, self.uid)

    @property
    def name(self) -> str:
        """The experiment's name."""
        if self._file is not None:
            return self._file.name
        return self._left.name or self.folder.name.rpartition("_")[0] or self.folder.name

    @property
    def status(self) -> str:
        """``created``, ``running``, ``completed`` or ``failed``."""
        return self.facts.status(self.has_points)

    @property
    def has_points(self) -> bool:
        """Whether any metric was stored."""
        files = self._points
        return bool(files.parts) or any(found.blocks for found in files.stretches()) or bool(files.damages)

    @property
    def start_ns(self) -> int:
        """When the run was opened, nanoseconds since 1970."""
        if self._file is not None:
            return self._file.opened_ns
        return min((s.opened_ns for s in self._left.sessions.values() if s.opened_ns), default=0)

    @property
    def end_ns(self) -> int | None:
        """When it ended, None while it has not."""
        decider = self.facts.decider()
        return None if decider is None else decider.ended_ns

    @property
    def error(self) -> str | None:
        """The traceback it failed with, or how it died; None otherwise."""
        decider = self.facts.decider()
        return None if decider is None else decider.error

    @property
    def params(self) -> dict[str, Any]:
        """The hyperparameters, all calls merged."""
        return self.facts.params

    @property
    def params_history(self) -> list[dict[str, Any]]:
        """Each call's ``{time_ns, rank, values, as_text}``, oldest first."""
        return self.facts.params_history

    @property
    def tags(self) -> list[str]:
        """The tags in the order they were added."""
        return self.facts.tags

    @property
    def notes(self) -> str | None:
        """The notes; the last call's count."""
        return self.facts.notes

    @property
    def group(self) -> str | None:
        """The group the run was opened in."""
        return self.facts.group

    @property
    def settings(self) -> dict[str, Any]:
        """What the constructor was given and parts that exist later act on."""
        return self.facts.settings

    @property
    def gaps(self) -> dict[str, list[tuple[int, int, str]]]:
        """Recorded gaps by session: (first, last, reason)."""
        return self.facts.gaps

    @property
    def damages(self) -> list[str]:
        """What was found damaged so far: all of it but single metrics of a part, which are found when read."""
        self._points.stretches()
        return [*self._left.damages, *self._points.damages]

    @property
    def metadata(self) -> dict[str, Any]:
        """What ``metadata.json`` says, made from the truth."""
        found = self.facts
        return {
            **found.gathered,
            "experiment_name": self.name,
            "experiment_id": self.id,
            "uid": self.uid.hex(),
            "status": self.status,
            "start_time": iso_time(self.start_ns),
            "end_time": iso_time(self.end_ns),
            "error": self.error,
            "tags": found.tags,
            "notes": found.notes,
            "group": found.group,
            "settings": found.settings,
            "ranks": sorted({session.rank for session in found.sessions.values()}),
            "attempts": len({session.attempt for session in found.sessions.values()}),
            "hyperparameters_as_text": found.params_as_text,
        }

    def texts(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return logged texts ``{name, text, step, time_ns, rank}``, oldest first."""
        known = self.facts
        damages: list[str] = []
        lines = [line for line in facts.read_lines(self.folder, damages) if line.get("kind") == "text"]
        self._check(damages)
        return [
            {
                "name": line["data"].get("name"),
                "text": line["data"].get("text"),
                "step": line["step"],
                "time_ns": line["time_ns"],
                "rank": known.sessions[line["session"]].rank,
            }
            for line in facts.in_order(lines)
            if name in (None, line["data"].get("name"))
        ]

    def metric_names(self) -> list[str]:
        """Return the names of all metrics, sorted."""
        return sorted(self._again(history.names))

    def metric(self, name: str, ranks: str | int = "mean", *, timed: bool = True) -> Columns:
        """Return a metric's points.

        Args:
            name: as it was logged; an unknown one gives empty columns.
            ranks: ``"mean"``, ``"min"`` or ``"max"``: where several ranks logged the metric, one
                point a step over all of them, in step order: of what a rank logged at one step, the
                last by (time, session, number) counts. Otherwise as logged. ``"all"``: every point in
                the order (time, session, number). A number: that rank's, in the order logged.
            timed: False lets ``time_ns`` and ``seq`` be 0 where one session alone logged, which spares
                reading them.

        Raises:
            DataDamagedError: something is damaged where the points are, or where points may have been.
            ValueError: ``ranks`` is none of these.
        """
        if not isinstance(ranks, int) and ranks not in ("mean", "min", "max", "all"):
            raise ValueError(f"ranks is {ranks!r}; it must be 'mean', 'all', 'min', 'max' or a rank's number")
        if isinstance(ranks, int) or ranks == "all":
            rank = ranks if isinstance(ranks, int) else None
            return self._again(lambda files: files.metric(name, rank=rank, timed=timed))
        found = self._again(lambda files: files.united(name, timed=timed))
        return found if isinstance(found, Columns) else one_a_step(name, found, ranks)

    def sifted_metric(self, name: str) -> Downsampled | None:
        """Return some of the points of a very long metric, all ranks of it; None: it is short enough to read.

        Raises:
            DataDamagedError: as :meth:`metric`.
        """
        return self._again(lambda files: sifted(files, name))

    def metrics_history(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Return one flat dict a call, ``{"timestamp", "step", **metrics}``, in the order logged.

        Args:
            limit: only so many, the oldest.
        """
        return self._again(lambda files: history.calls(files, limit))

    def call_count(self) -> int:
        """Return how many calls logged metrics."""
        return self._again(
            lambda files: (
                sum(part.calls for part in files.parts)
                + sum(len(block.seq) for stretch in files.stretches() for block in stretch.blocks)
            )
        )

    def best_metric(self, name: str, mode: str = "max") -> tuple[float, int | None] | tuple[None, None]:
        """Return the best value over ``metric(name)`` and its step; NaN never wins.

        Raises:
            ValueError: ``mode`` is neither ``max`` nor ``min``.
        """
        if mode not in ("max", "min"):
            raise ValueError(f"mode is {mode!r}; it must be 'max' or 'min'")
        columns = self.metric(name)
        real = np.flatnonzero(~np.isnan(columns.value))
        if not len(real):
            return None, None
        values = columns.value[real]
        best = real[int(values.argmax() if mode == "max" else values.argmin())]
        return float(columns.value[best]), step_or_none(int(columns.step[best]))

    def summary(self) -> dict[str, Any]:
        """Return what ``summary.json`` says, made from the truth."""
        end = self.end_ns
        stats, count = self._again(history.stats)
        return {
            "experiment_name": self.name,
            "experiment_id": self.id,
            "status": self.status,
            "start_time": iso_time(self.start_ns),
            "end_time": iso_time(end),
            "duration_s": None if end is None else round((end - self.start_ns) / 1e9, 6),
            "calls": self.call_count(),
            "metrics": {name: stats[name].plain() for name in sorted(stats)},
            "metrics_total": count,
            "hyperparameters": self.params,
        }

    def metric_stats(self) -> dict[str, Stats]:
        """Return count, least, most and last of each metric, of at most 10,000 metrics."""
        return self._again(history.stats)[0]

    def last_seq(self, session: str) -> int:
        """Return up to which number everything of the session is stored here or a gap; 0 if unknown."""
        known = [0]
        for ledger in ledgers.read_all(self.folder, []).values():
            if session in ledger.sessions:
                known.append(ledger.sessions[session].last)
        if session in self._left.sessions:
            known.append(self._left.sessions[session].highest)
        known += [last for first, last, _ in self._left.gaps.get(session, ())]
        known.append(self._points.stored.get(bytes.fromhex(session), 0))
        known += [s.last for s in self._points.stretches() if s.session.hex() == session]
        return max(known)

    def _again(self, read: Callable[[PointFiles], T]) -> T:
        """Return what ``read`` returns; look at the files anew when one went away under it."""

        def attempt() -> T:
            try:
                return read(self._points.whole())
            except FileNotFoundError:
                self.__dict__.pop("_points", None)
                raise

        try:
            return started_over(attempt)
        except DataDamagedError:
            raise
        except FormatError as error:  # of one chunk of a part
            raise DataDamagedError(self.folder, [str(error)]) from error


def check_damaged(damaged: str) -> str:
    """Return the word for what to do about damage; raises ValueError for any other."""
    if damaged not in ("raise", "skip"):
        raise ValueError(f"damaged is {damaged!r}; it must be 'raise' or 'skip'")
    return damaged
