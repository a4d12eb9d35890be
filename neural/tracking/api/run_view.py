"""The reading half of a tracker: the stored run, united with the events that this process logged since.

A read waits until the run folder has the events of this process, a second at most, and not at all if no
collector answers. Then it adds the events that are still in the outbox.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neural.tracking.api.recorder import Recorder
    from neural.tracking.reader.run import Run

BARRIER_S = 1.0
MAX_PANELS = 48


class RunView:
    """The run as a tracker reads it."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._visible = (b"", 0)  # session (a forked child has another one), number that the folder has
        self._first_read = True
        self._warned_of_remote = False
        self._store_is_visible = recorder.opening.config.collector is None  # remote: not known yet

    def status(self) -> str:
        """Return the run's status; reads the disk only if this process does not know the status."""
        recorder = self._recorder
        if recorder.ended is not None and recorder.ends_attempt:
            return recorder.ended
        if recorder.started and recorder.ended is None:
            return "running"
        return self.run().status

    def run(self) -> Run:
        """Return the run as of now. Blocks for a second at most, until the store has this process's events."""
        from neural.tracking.reader.run import Run

        session = self._recorder.session
        folder, damaged = self._recorder.opening.folder, self._recorder.opening.damaged
        if session is None:
            return Run(folder, damaged)
        emitted = session.emitted
        known_session, visible = self._visible
        if known_session == session.id and visible >= emitted:
            return Run(folder, damaged)
        if self._is_worth_a_wait(session.state) and session.flush(BARRIER_S):
            if self._is_stored_here(folder):
                self._visible = (session.id, emitted)
                return Run(folder, damaged)
            self._warn_of_remote()
        from neural.tracking.reader.with_outbox import RunWithOutbox, outbox_content

        if session.state == "closed":
            held = outbox_content(session.outboxes, session.id)
        else:
            held = list(session.unacknowledged())
        return RunWithOutbox(folder, session.id, session.rank, held, damaged)

    def _is_worth_a_wait(self, state: str) -> bool:
        """Return whether a collector answers, or may answer soon: at the first read one may be starting."""
        first, self._first_read = self._first_read, False
        starting = first and self._recorder.opening.config.mode == "online"
        return state in ("connected", "closed") or starting

    def _is_stored_here(self, folder: Path) -> bool:
        """Return whether this host sees the collector's run folders: a local one's always, a remote one's on a
        shared disk.
        """
        self._store_is_visible = self._store_is_visible or next(folder.glob("ledger-*.json"), None) is not None
        return self._store_is_visible

    def _warn_of_remote(self) -> None:
        """Warn once that reads on this host do not see the whole run."""
        if not self._warned_of_remote:
            self._warned_of_remote = True
            from neural.tracking.core.warn import warn

            opening = self._recorder.opening
            warn(
                "run %s is stored by the collector at %s, whose disk is not seen here: reads return only the "
                "events that this process logged and the collector does not have yet",
                opening.identity.name,
                opening.config.collector,
            )

    def save_summary(self) -> Path:
        """Write the summary and the history of :meth:`run` as JSON views; return the summary's path."""
        from neural.tracking.core import files
        from neural.tracking.reader import json_views

        run = self.run()
        kept = self._recorder.opening.config.mode != "disabled" or run.folder.is_dir()
        for name in ("metrics", "summary") if kept else ():
            files.atomic_write(run.folder / f"{name}.json", json_views.view_text(run, name), durable=False)
        return run.folder / "summary.json"

    def figure(self, names: Sequence[str] | None, figsize: tuple[float, float] | None) -> Figure:
        """Return a figure of the named metrics, or of all; of more than 48, of the most important ones.

        Raises:
            KeyError: there is no metric of one of the names.
        """
        from neural.tracking.figures.panels import plot_panels
        from neural.tracking.figures.run import read_series, title_of_run

        run = self.run()
        known = run.metric_names()
        if missing := [name for name in names or () if name not in known]:
            raise KeyError(f"no metric {missing[0]!r} was logged; there are {', '.join(known[:12]) or 'none'}")
        series = read_series(run, names, limit=MAX_PANELS if names is None else None)
        remark = f"{len(series)} of {len(known)} metrics" if names is None and len(known) > MAX_PANELS else ""
        return plot_panels(series, title=title_of_run(run), remark=remark, figsize=figsize)

    def save_plots(self) -> dict[str, Path]:
        """Draw all plots of :meth:`run` into ``plots/``; return their paths by name, {} if disabled."""
        from neural.tracking.figures.run import run_plots, save_plots
        from neural.tracking.figures.saving import FOLDER

        if self._recorder.opening.config.mode == "disabled":
            return {}
        run = self.run()
        return save_plots(run_plots(run), run.folder / FOLDER)
