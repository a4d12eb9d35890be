"""The reading half of a tracker: the run as it is stored, united with what this process logged since.

A read waits until the run folder has what this process emitted, for at most a second, and not at all
when no collector answers; then what is still in the outbox is added from there.
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
    """Answers what a tracker is asked about its run."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._visible = (b"", 0)  # of this session (a forked child has another), the folder has so many
        self._first_read = True
        self._told_apart = False
        self._sees_store = recorder.opening.config.collector is None  # else not before something shows it

    def status(self) -> str:
        """Return the run's status; what this process knows of it needs no look at the disk."""
        recorder = self._recorder
        if recorder.ended is not None and recorder.decides:
            return recorder.ended
        if recorder.started and recorder.ended is None:
            return "running"
        return self.run().status

    def run(self) -> Run:
        """Return the run as of now."""
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
            self._tell_apart()
        from neural.tracking.reader.with_outbox import RunWithOutbox, left_behind

        if session.state == "closed":
            held = left_behind(session.outboxes, session.id)
        else:
            held = list(session.unacknowledged())
        return RunWithOutbox(folder, session.id, session.rank, held, damaged)

    def _is_worth_a_wait(self, state: str) -> bool:
        """Whether a collector answers, or may be just about to: the first read comes while one starts."""
        first, self._first_read = self._first_read, False
        starting = first and self._recorder.opening.config.mode == "online"
        return state in ("connected", "closed") or starting

    def _is_stored_here(self, folder: Path) -> bool:
        """Whether this host sees what the collector writes: always its own, another's on a shared disk."""
        self._sees_store = self._sees_store or next(folder.glob("ledger-*.json"), None) is not None
        return self._sees_store

    def _tell_apart(self) -> None:
        """Say once that reads here are not the whole run."""
        if not self._told_apart:
            self._told_apart = True
            from neural.tracking.core.warn import warn

            opening = self._recorder.opening
            warn(
                "run %s is stored by the collector at %s, whose disk is not seen here: what is read here is "
                "only what this process logged and the collector does not have yet",
                opening.identity.name,
                opening.config.collector,
            )

    def save_summary(self) -> Path:
        """Write summary and history as JSON views of what :meth:`run` sees; return the summary's path."""
        from neural.tracking.core import files
        from neural.tracking.reader import json_views

        run = self.run()
        kept = self._recorder.opening.config.mode != "disabled" or run.folder.is_dir()
        for name in ("metrics", "summary") if kept else ():
            files.atomic_write(run.folder / f"{name}.json", json_views.view_text(run, name), durable=False)
        return run.folder / "summary.json"

    def figure(self, names: Sequence[str] | None, figsize: tuple[float, float] | None) -> Figure:
        """Return a figure of the named metrics, or of all; of very many, of the 48 most telling."""
        from neural.tracking.figures.panels import plot_panels
        from neural.tracking.figures.run import read_series, title_of_run

        run = self.run()
        known = run.metric_names()
        if missing := [name for name in names or () if name not in known]:
            raise KeyError(f"no metric {missing[0]!r} was logged; there are {', '.join(known[:12]) or 'none'}")
        series = read_series(run, names, limit=MAX_PANELS if names is None else None)
        remark = f"{len(series)} of {len(known)} metrics" if names is None and len(known) > MAX_PANELS else ""
        return plot_panels(series, title=title_of_run(run), remark=remark, figsize=figsize)

    def save_pictures(self) -> dict[str, Path]:
        """Save the full set of figures of what :meth:`run` sees below ``plots/``; return paths by name."""
        from neural.tracking.figures.run import run_plots, save_plots
        from neural.tracking.figures.saving import FOLDER

        if self._recorder.opening.config.mode == "disabled":
            return {}
        run = self.run()
        return save_plots(run_plots(run), run.folder / FOLDER)
