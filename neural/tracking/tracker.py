"""One run, as the training sees it: log into it, read it back, end it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from neural.tracking.api.artifacts import ArtifactMethods
from neural.tracking.api.options import check_group, check_notes, check_tags, run_settings
from neural.tracking.api.reading import ReadingMethods
from neural.tracking.api.recorder import NoRecorder, Opening, Recorder
from neural.tracking.api.run_folder import open_run_folder
from neural.tracking.api.run_view import RunView
from neural.tracking.core import exit_code
from neural.tracking.core.config import agent_config
from neural.tracking.core.names import check_metric_name, check_run_name, one_or_many
from neural.tracking.core.warn import traceback_text
from neural.tracking.formats.run_file import folder_name, resolve_base_dir
from neural.tracking.params.plain import param_events
from neural.tracking.state.paths import State
from neural.tracking.state.tombstones import Tombstones

DEFAULT_NAME = "experiment"
exit_code.watch()


class ExperimentTracker(ArtifactMethods, ReadingMethods):
    """Logs one run and reads it back.

    A log call packs one event into memory that outlives the process and returns; a collector of its
    own stores it. No log call waits for a disk, a network or another process, and none raises for
    the state of any of these: only for misuse, naming what was wrong.

    Threads may share a tracker. A forked child and a process that unpickles it write to the same run.
    """

    def __init__(
        self,
        experiment_name: str | None = None,
        base_dir: str | os.PathLike[str] | None = None,
        auto_visualize: bool = True,
        backend: str | Iterable[str] | None = None,
        *,
        visualize_every: int | None = None,
        tags: str | Iterable[str] = (),
        notes: str | None = None,
        group: str | None = None,
        mode: str | None = None,
        when_full: str | None = None,
    ) -> None:
        """Open a run: ``base_dir/<experiment_name>_<experiment_id>``, or join the one other ranks opened.

        Args:
            experiment_name: at most 200 bytes, what a folder may be called; default ``experiment``.
            base_dir: holds the runs; default ``NTRACK_DIR``, else ``neural_experiments``.
            auto_visualize: whether plots are drawn while the run goes on, and at its end.
            backend: name or names of the sinks the run is also delivered to: ``mlflow``, ``wandb``,
                ``tensorboard``, ``jsonl``, or one configured with ``ntrack sinks add``; default
                ``NTRACK_SINKS``.
            visualize_every: log calls between two drawings, default 10; however many there are,
                they are at least 30 s apart.
            tags: short labels to find the run by.
            notes: free text, at most 64 KiB.
            group: the name of several runs' common purpose.
            mode: ``online``, ``offline`` (start no collector) or ``disabled``; default ``NTRACK_MODE``.
            when_full: ``drop`` or ``block``, once the outbox is at its limit.

        Raises:
            InvalidNameError, ConfigError, TypeError: an argument cannot be used; says which and why.
            OSError: ``base_dir`` is no folder, not permitted or read-only.
            RunConflictError: the folder of this run belongs to another run.

        Blocks: some milliseconds; never for a collector.
        """
        name = check_run_name(DEFAULT_NAME if experiment_name is None else experiment_name)
        base = resolve_base_dir(base_dir)
        config = agent_config(base, mode=mode, when_full=when_full)
        elsewhere = config.collector is not None
        settings = run_settings(auto_visualize, visualize_every, backend, base, elsewhere=elsewhere)
        labels = {"tags": check_tags(tags), "notes": check_notes(notes), "group": check_group(group)}

        from neural.tracking.agent import choose_run

        identity = choose_run(name, os.environ)
        folder = base / folder_name(name, identity.uid)
        if config.mode != "disabled":
            state = State.for_base_dir(base)
            state.check_own()  # it must not leave a run's folder behind
            folder, identity = open_run_folder(base, identity)
            # After that: a removal that took the folder in between was of the run before this one.
            identity = identity._replace(after=Tombstones(state.tombstones).newest(identity.uid))
        event = {**labels, "settings": settings}
        opening = Opening(base_dir=base, folder=folder, identity=identity, config=config, event=event)
        self._attach(NoRecorder(opening) if config.mode == "disabled" else Recorder(opening))
        if config.mode != "disabled":
            self._recorder.open()

    @classmethod
    def _of(cls, opening: Opening) -> ExperimentTracker:
        """Return a tracker of an existing run, which opens a session only when something is logged."""
        tracker = cls.__new__(cls)
        tracker._attach(NoRecorder(opening) if opening.config.mode == "disabled" else Recorder(opening))
        return tracker

    def _attach(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._view = RunView(recorder)
        self._emit_metrics: Callable[..., bool] = self._emit_first_metrics

    def __reduce__(self) -> tuple[Any, ...]:
        opening = self._recorder.opening
        child = opening.identity._replace(role="child")
        return type(self)._of, (opening._replace(identity=child),)

    def __enter__(self) -> ExperimentTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        clean_exit = isinstance(error, SystemExit) and error.code in (None, 0)
        if kind is None or error is None or clean_exit:
            self._end("completed", None, None)
        else:
            self._end("failed", traceback_text(kind, error, trace), None)

    def __repr__(self) -> str:
        return f"<ExperimentTracker {self.experiment_name!r} {self.experiment_id} in {str(self.base_dir)!r}>"

    # Who it is

    @property
    def experiment_name(self) -> str:
        """The run's name as it was given."""
        return self._recorder.opening.identity.name

    @property
    def experiment_id(self) -> str:
        """8 hex digits, the beginning of the run's uid."""
        return self._recorder.opening.identity.uid.hex()[:8]

    @property
    def experiment_dir(self) -> Path:
        """The run's folder."""
        return self._recorder.opening.folder

    @property
    def base_dir(self) -> Path:
        """The folder that holds this run and others."""
        return self._recorder.opening.base_dir

    # Logging

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> bool:
        """Log the values of some metrics at one step; return at once.

        Args:
            metrics: name to number: Python's, NumPy's, a 0-d array or tensor. Nested dicts become
                names joined with ``/``. NaN and infinities are stored as they are.
            step: may repeat and go back; default: how many non-empty calls came before this one.

        Returns:
            True if it is in the outbox. False if that was full and the policy is ``drop``; the gap
            is recorded and told at ``finish()``.

        Raises:
            TypeError, ValueError: not a number, not a name, more than 10,000 metrics; says which.

        Blocks: never; about a microsecond, see ``docs/guarantees.md``.
        """
        return self._emit_metrics(metrics, step)

    def log_hyperparameters(self, hyperparameters: Any) -> bool:
        """Log parameters; a second call merges, and the history of changes is kept.

        Args:
            hyperparameters: a (nested) dict, an argparse namespace, a dataclass, attrs, pydantic or
                NamedTuple instance, absl's flags, or an object whose settings are its attributes. A
                value JSON has no type for becomes its ``str()``, marked as such; so does what cannot be
                read, refers back to what it is in, or is too large. Of more than 100,000 values or
                4 MiB, a list over 200 KiB too, a mark says how many were left out.

        Returns:
            As ``log_metrics``.

        Raises:
            TypeError: it is none of these. No value raises.
        """
        found = param_events(hyperparameters)
        if found.left_out:
            from neural.tracking.core.warn import warn

            warn(
                "run %s: not all parameters were kept; a mark stands where some are left out",
                self.experiment_name,
            )
        kept = [self._recorder.emit("params", data) for data in found.events]
        return all(kept)

    def log_text(self, name: str, text: str, step: int | None = None) -> bool:
        """Log a text under a name: a sample, a remark; at most 256 KiB. Returns as log_metrics."""
        check_metric_name(name)
        if not isinstance(text, str):
            raise TypeError(f"text {name!r} must be text, not {type(text).__name__}; pass str() of it")
        whole = text.encode("utf-8", "backslashreplace").decode()
        return self._recorder.emit("text", {"name": name, "text": whole}, step=step)

    def add_tags(self, *tags: str | Iterable[str]) -> bool:
        """Add tags to the run, given one by one or as lists. Returns as log_metrics."""
        checked = check_tags([tag for given in tags for tag in one_or_many(given)])
        return self._recorder.emit("tags", {"add": checked}) if checked else True

    # Ending

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all this process logged, artifacts too, is stored and visible; return whether it is."""
        return self._recorder.flush(timeout)

    def finish(self, status: str = "completed", timeout: float | None = None) -> bool:
        """End the run; delivery goes on in the collector.

        Args:
            status: ``completed`` or ``failed``.
            timeout: seconds; default 5, and 60 where the collector cannot outlive this process.

        Returns:
            Whether everything is stored. False says only that it is not yet, or that there are gaps.

        Raises:
            ConfigError: another status.

        Blocks: at most ``timeout``, whatever is down.
        """
        return self._end(status, None, timeout)

    def _end(self, status: str, error: str | None, timeout_s: float | None) -> bool:
        done = self._recorder.close(status, error, timeout_s)
        self._emit_metrics = self._emit_first_metrics  # which refuses from now on
        return done

    def _emit_first_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> bool:
        """Open the session where that was not done, then step aside: later calls go straight to it."""
        emit = self._recorder.metrics_emitter()
        kept = emit(metrics, step)
        self._recorder.started = self._recorder.started or bool(metrics)
        self._emit_metrics = emit
        return kept
