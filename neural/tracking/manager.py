"""The manager of all runs of one ``base_dir``: creates, finds, lists and deletes them."""

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
    """Reads and creates the runs in one folder; keeps nothing open."""

    def __init__(self, base_dir: str | os.PathLike[str] | None = None) -> None:
        """Take the runs in ``base_dir``, default ``NTRACK_DIR``, else ``neural_experiments``.

        If a process died and left events that no collector has, start a collector (in ``online`` mode only).

        Raises:
            ConfigError: the state folder cannot be determined from the settings.
            OSError: that collector cannot be started.

        Blocks: some milliseconds; never for a collector.
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
        """Open a new run in this folder; arguments, ``options`` and errors are those of ``ExperimentTracker``.

        ``experiment_name`` is another name of ``name``.
        """
        return ExperimentTracker(
            experiment_name if name is None else name, self._base_dir, auto_visualize, backend, **options
        )

    def get_experiment(
        self, experiment_id: str, *, damaged: Literal["raise", "skip"] = "raise"
    ) -> ExperimentTracker | None:
        """Return a tracker that reads this run; None if there is no such run, or the id is malformed.

        The tracker can also log: its first log call begins a new attempt of the run.

        Args:
            experiment_id: 8 hex digits, in upper or lower case.
            damaged: what its reads do if a part of the run is damaged: ``"raise"`` a ``DataDamagedError`` that
                names the file, or ``"skip"`` the part and return what is left.

        Raises:
            AmbiguousRunError: several folders have this id, for one a run and its copy.
            ValueError: ``damaged`` is another word, or the settings of the folder are invalid (ConfigError).
            OSError: a folder of a run cannot be read.

        Blocks: on the disk; reads the ids of all runs.
        """
        from neural.tracking.api.run_list import opening_of_existing
        from neural.tracking.reader.run import check_damaged

        check_damaged(damaged)
        if not _ID.fullmatch(str(experiment_id).lower()):
            return None
        opening = opening_of_existing(self._base_dir, experiment_id.lower(), damaged)
        return None if opening is None else ExperimentTracker._of(opening)

    def list_experiments(self) -> list[dict[str, Any]]:
        """Return a dict for each run, newest first; an empty list if the folder is missing.

        Each has ``experiment_name``, ``experiment_id``, ``status``, ``start_time``, ``end_time``, ``summary``,
        ``experiment_dir``, ``tags``, ``notes``, ``group``, ``ranks``, ``hyperparameters`` and ``damaged``. The
        last is None, or says what is damaged: then values are missing, and ``status`` may be ``"damaged"``.

        Raises:
            OSError: a folder of a run cannot be read.

        Blocks: on the disk; reads two small files of each ended run, and all of a live one.
        """
        from neural.tracking.api.run_list import list_entries

        return list_entries(self._base_dir)

    def delete_experiment(self, experiment_id: str) -> bool:
        """Remove a run with all its files; return False if there is no such run, or the id is malformed.

        Events that its processes still log become a gap ``run_deleted``.

        Raises:
            AmbiguousRunError: several folders have this id, and nothing was removed; ``ntrack runs rm`` takes
                the path of one of them.
            CollectorUnreachableError: a collector holds the folder but does not answer.
            InvalidNameError: the folder is a symbolic link.
            OSError: the folder, or another run's, cannot be read or removed.

        Blocks: until the folder is removed, on a running collector for 15 s at most.
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
