"""All runs of one ``base_dir``: make, find, list and delete them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from neural.tracking.api.comparing import ComparisonMethods
from neural.tracking.formats.run_file import resolve_base_dir
from neural.tracking.tracker import ExperimentTracker

_ID = re.compile(r"[0-9a-f]{8}")


class ExperimentManager(ComparisonMethods):
    """Reads and makes the runs below one folder; keeps nothing open."""

    def __init__(self, base_dir: str | os.PathLike[str] | None = None) -> None:
        """Look at the runs in ``base_dir``, default ``NTRACK_DIR``, else ``neural_experiments``.

        Where a process died and left events behind that no collector has, one is started.
        """
        self._base_dir = resolve_base_dir(base_dir)
        from neural.tracking.api.run_list import start_delivery

        start_delivery(self._base_dir)

    @property
    def base_dir(self) -> Path:
        """The folder that holds the runs."""
        return self._base_dir

    def __repr__(self) -> str:
        return f"<ExperimentManager of {str(self._base_dir)!r}>"

    def create_experiment(
        self,
        name: str | None = None,
        auto_visualize: bool = True,
        backend: str | Iterable[str] | None = None,
        *,
        experiment_name: str | None = None,
        **options: Any,
    ) -> ExperimentTracker:
        """Open a new run here; arguments, ``options`` and errors are those of ``ExperimentTracker``."""
        return ExperimentTracker(
            experiment_name if name is None else name, self._base_dir, auto_visualize, backend, **options
        )

    def get_experiment(
        self, experiment_id: str, *, damaged: Literal["raise", "skip"] = "raise"
    ) -> ExperimentTracker | None:
        """Return a tracker that reads this run, or None where there is none.

        It can go on logging: its first log call begins a new attempt of the run.

        Args:
            experiment_id: the run's.
            damaged: what its reads do where something of the run is damaged: ``"raise"`` a
                ``DataDamagedError`` that names the file, or ``"skip"`` it and give what is left.

        Raises:
            AmbiguousRunError: several folders bear this id: a run and its copy.
        """
        from neural.tracking.api.run_list import opening_of_existing
        from neural.tracking.reader.run import check_damaged

        check_damaged(damaged)
        if not _ID.fullmatch(str(experiment_id).lower()):
            return None
        opening = opening_of_existing(self._base_dir, experiment_id.lower(), damaged)
        return None if opening is None else ExperimentTracker._of(opening)

    def list_experiments(self) -> list[dict[str, Any]]:
        """Return a dict for each run, newest first.

        Each has ``experiment_name``, ``experiment_id``, ``status``, ``start_time``, ``end_time``,
        ``summary``, ``experiment_dir``, ``tags``, ``notes``, ``group``, ``hyperparameters`` and
        ``damaged``: None, or what is wrong with a run whose values cannot be told.
        """
        from neural.tracking.api.run_list import list_entries

        return list_entries(self._base_dir)

    def delete_experiment(self, experiment_id: str) -> bool:
        """Remove a run with all its files; return whether there was one.

        What its processes still log becomes a gap ``run_deleted``.

        Raises:
            AmbiguousRunError: several folders bear this id, and nothing was removed; ``ntrack runs rm``
                takes the path of the one that is meant.
            CollectorUnreachableError: a collector holds the folder but does not answer.
        """
        from neural.tracking.api.run_list import delete_run
        from neural.tracking.reader.run_list import find_run

        if not _ID.fullmatch(str(experiment_id).lower()):
            return False
        run = find_run(self._base_dir, experiment_id.lower(), "skip")
        if run is None:
            return False
        delete_run(self._base_dir, run)
        return True
