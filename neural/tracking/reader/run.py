"""Reads runs from their folders, for tracker, manager, command line and everything else.

A :class:`Run` is cheap to create and reads at first use. From then on each kind of content is a snapshot:
create a new object to see what a live run has added. Damaged data are never returned, and never left out
silently: reading them, or data that may be incomplete because of damage, raises
:class:`~neural.tracking.errors.DataDamagedError`. The run's identity and its start time can still be read. With
``damaged="skip"``, intact data are read, and :attr:`Run.damages` describes what is missing.
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
from neural.tracking.reader.columns import Columns, one_per_step
from neural.tracking.reader.downsample import Downsampled, downsampled
from neural.tracking.reader.facts import RunFacts
from neural.tracking.reader.metric_stats import Stats, step_or_none
from neural.tracking.reader.points import PointFiles, retry_if_removed

T = TypeVar("T")
Damaged = Literal["raise", "skip"]


class Run:
    """One run folder, anywhere. Its properties and methods block on the disk at first use.

    They raise DataDamagedError if the event lines or points that they need are damaged, unless ``damaged`` is
    ``"skip"``, and OSError if a file cannot be read.
    """

    def __init__(self, folder: Path | str, damaged: Damaged = "raise") -> None:
        """Create a reader of ``folder``; raises ValueError for another ``damaged``. Reads nothing yet."""
        self.folder = Path(folder)
        self._skips = check_damaged(damaged) == "skip"

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @functools.cached_property
    def _file(self) -> RunFile | None:
        return RunFile.read(self.folder)

    @property
    def facts(self) -> RunFacts:
        """The facts in the event lines.

        Raises:
            DataDamagedError: some lines are damaged.
        """
        self._check(self._valid_facts.damages)
        return self._valid_facts

    @functools.cached_property
    def _valid_facts(self) -> RunFacts:
        """The facts in the intact event lines."""
        return facts.read_facts(self.folder)

    @functools.cached_property
    def _points(self) -> PointFiles:
        return retry_if_removed(lambda: PointFiles(self.folder / "metrics", skip=self._skips))

    def _check(self, damages: Sequence[str]) -> None:
        if damages and not self._skips:
            raise DataDamagedError(self.folder, damages)

    @property
    def uid(self) -> bytes:
        """The run's 16-byte identity; empty if no file in the folder contains it."""
        return self._file.uid if self._file is not None else bytes.fromhex(self._valid_facts.uid)

    @property
    def id(self) -> str:
        """The ``experiment_id``: the first 8 hex digits of the uid."""
        return self.uid.hex()[:8]

    @property
    def is_home(self) -> bool:
        """Whether this folder has the name to which a live run is written; a copy has another name."""
        return self.folder.name in home_names(self.name, self.uid)

    @property
    def name(self) -> str:
        """The experiment's name."""
        if self._file is not None:
            return self._file.name
        return self._valid_facts.name or self.folder.name.rpartition("_")[0] or self.folder.name

    @property
    def status(self) -> str:
        """``created``, ``running``, ``completed`` or ``failed``."""
        return self.facts.status(self.has_points)

    @property
    def has_points(self) -> bool:
        """Whether any point is stored; True also if the metrics files are damaged."""
        files = self._points
        return bool(files.parts) or any(found.blocks for found in files.stretches()) or bool(files.damages)

    @property
    def start_ns(self) -> int:
        """The time at which the run was opened, in nanoseconds since 1970; 0 if unknown."""
        if self._file is not None:
            return self._file.opened_ns
        return min((s.opened_ns for s in self._valid_facts.sessions.values() if s.opened_ns), default=0)

    @property
    def end_ns(self) -> int | None:
        """The time at which it ended, in nanoseconds since 1970; None if it has not."""
        decider = self.facts.decider()
        return None if decider is None else decider.ended_ns

    @property
    def error(self) -> str | None:
        """The traceback of its failure, or how its process died; None otherwise."""
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
        """The notes of the last call that set them; None if there are none."""
        return self.facts.notes

    @property
    def group(self) -> str | None:
        """The group in which the run was opened; None if there is none."""
        return self.facts.group

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's settings for other parts, such as backends and plots."""
        return self.facts.settings

    @property
    def gaps(self) -> dict[str, list[tuple[int, int, str]]]:
        """Recorded gaps by session: (first, last, reason)."""
        return self.facts.gaps

    @property
    def damages(self) -> list[str]:
        """The damages found so far; damage of a single metric in a part is found only when it is read."""
        self._points.stretches()
        return [*self._valid_facts.damages, *self._points.damages]

    @property
    def metadata(self) -> dict[str, Any]:
        """The correct content of ``metadata.json``."""
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
        return sorted(self._read(history.names))

    def metric(self, name: str, ranks: str | int = "mean", *, timed: bool = True) -> Columns:
        """Return a metric's points. Blocks: reads them from the disk.

        Args:
            name: the metric's name; an unknown one gives empty columns.
            ranks: ``"mean"``, ``"min"`` or ``"max"``: if several ranks logged the metric, one point for each
                step over all of them, in step order; the last point of a rank at a step, by (time, session,
                number), counts. If one rank logged it: its points as logged. ``"all"``: every point in the
                order (time, session, number). A number: the points of that rank, in the order logged.
            timed: with False, ``time_ns`` and ``seq`` may be 0 if there is a single session; this is faster.

        Raises:
            DataDamagedError: data are damaged, so that points of the metric may be wrong or missing.
            ValueError: ``ranks`` has another value.
        """
        if not isinstance(ranks, int) and ranks not in ("mean", "min", "max", "all"):
            raise ValueError(f"ranks is {ranks!r}; it must be 'mean', 'all', 'min', 'max' or a rank's number")
        if isinstance(ranks, int) or ranks == "all":
            rank = ranks if isinstance(ranks, int) else None
            return self._read(lambda files: files.metric(name, rank=rank, timed=timed))
        found = self._read(lambda files: files.united(name, timed=timed))
        return found if isinstance(found, Columns) else one_per_step(name, found, ranks)

    def downsampled_metric(self, name: str) -> Downsampled | None:
        """Return a very long metric downsampled, with all its ranks; None if it is short enough to read.

        Raises:
            DataDamagedError: as for :meth:`metric`.
        """
        return self._read(lambda files: downsampled(files, name))

    def metrics_history(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Return one flat dict for each call, ``{"timestamp", "step", **metrics}``, in the order logged.

        Args:
            limit: the maximum number of calls; the oldest are returned.
        """
        return self._read(lambda files: history.calls(files, limit))

    def call_count(self) -> int:
        """Return how many calls logged metrics."""
        return self._read(
            lambda files: (
                sum(part.calls for part in files.parts)
                + sum(len(block.seq) for stretch in files.stretches() for block in stretch.blocks)
            )
        )

    def best_metric(self, name: str, mode: str = "max") -> tuple[float, int | None] | tuple[None, None]:
        """Return the best value of ``metric(name)`` and its step; (None, None) if all values are NaN.

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
        """Return the correct content of ``summary.json``."""
        end = self.end_ns
        stats, count = self._read(history.stats)
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
        """Return count, minimum, maximum and last value of each metric, of 10,000 metrics at most."""
        return self._read(history.stats)[0]

    def last_seq(self, session: str) -> int:
        """Return the last number of the session (hex) that this folder has as event or gap; 0 if unknown."""
        known = [0]
        for ledger in ledgers.read_all(self.folder, []).values():
            if session in ledger.sessions:
                known.append(ledger.sessions[session].last)
        if session in self._valid_facts.sessions:
            known.append(self._valid_facts.sessions[session].highest)
        known += [last for first, last, _ in self._valid_facts.gaps.get(session, ())]
        known.append(self._points.stored.get(bytes.fromhex(session), 0))
        known += [s.last for s in self._points.stretches() if s.session.hex() == session]
        return max(known)

    def _read(self, read: Callable[[PointFiles], T]) -> T:
        """Return the result of ``read``; list the files again if one was removed meanwhile."""

        def attempt() -> T:
            try:
                return read(self._points.checked())
            except FileNotFoundError:
                self.__dict__.pop("_points", None)
                raise

        try:
            return retry_if_removed(attempt)
        except DataDamagedError:
            raise
        except FormatError as error:  # of one chunk of a part
            raise DataDamagedError(self.folder, [str(error)]) from error


def check_damaged(damaged: str) -> str:
    """Return ``damaged`` if it is ``"raise"`` or ``"skip"``, else raise ValueError."""
    if damaged not in ("raise", "skip"):
        raise ValueError(f"damaged is {damaged!r}; it must be 'raise' or 'skip'")
    return damaged
