"""The tracker of one run: logs into it, reads it back, ends it."""

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

    A log call packs one event into memory that outlives the process, and returns; a collector, a process of
    its own, stores the event. No log call waits for the network or another process, and none raises for their
    state: it raises only for misuse, and names the mistake. Two exceptions: with ``when_full="block"`` a call
    waits while the outbox is full; and the first log call of a tracker that ``get_experiment`` returned, or
    that was unpickled, opens a session (some milliseconds on the disk), which may raise OSError. After
    ``finish()`` every log call raises TrackingError.

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
        """Open a run in ``base_dir/<experiment_name>_<experiment_id>``, or join the run of the other ranks.

        Args:
            experiment_name: at most 200 bytes, valid as a folder's name; default ``experiment``.
            base_dir: the folder of the runs; default ``NTRACK_DIR``, else ``neural_experiments``.
            auto_visualize: whether plots are drawn while the run is live, and at its end.
            backend: name or names of the sinks to which the run is also delivered: ``mlflow``, ``wandb``,
                ``tensorboard``, ``jsonl``, or one configured with ``ntrack sinks add``; default
                ``NTRACK_SINKS``.
            visualize_every: log calls between two drawings, default 10. Drawings are always at least 30 s
                apart.
            tags: short labels to find the run by.
            notes: free text, at most 64 KiB.
            group: the name of a group of runs with a common purpose.
            mode: ``online``, ``offline`` (start no collector) or ``disabled``; default ``NTRACK_MODE``.
            when_full: what a log call does when the outbox is at its limit: ``drop`` or ``block``.

        Raises:
            InvalidNameError, ConfigError, TypeError: an argument cannot be used; the text says which and why.
            OSError: ``base_dir`` is not a folder, not permitted or read-only.
            RunConflictError: the folder of this run belongs to another run.

        Blocks: some milliseconds on the disk; never for a collector.
        """
        name = check_run_name(DEFAULT_NAME if experiment_name is None else experiment_name)
        base = resolve_base_dir(base_dir)
        config = agent_config(base, mode=mode, when_full=when_full)
        remote = config.collector is not None
        settings = run_settings(auto_visualize, visualize_every, backend, base, remote=remote)
        labels = {"tags": check_tags(tags), "notes": check_notes(notes), "group": check_group(group)}

        from neural.tracking.agent import choose_run

        identity = choose_run(name, os.environ)
        folder = base / folder_name(name, identity.uid)
        if config.mode != "disabled":
            state = State.for_base_dir(base)
            state.check_own()  # before a run's folder is created
            folder, identity = open_run_folder(base, identity)
            # Read after the folder is open: an earlier removal was of a previous run with this uid.
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

    # Identity

    @property
    def experiment_name(self) -> str:
        """The run's name."""
        return self._recorder.opening.identity.name

    @property
    def experiment_id(self) -> str:
        """The first 8 hex digits of the run's uid."""
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
        """Log the values of some metrics at one step.

        Args:
            metrics: names to numbers: of Python or NumPy, or arrays and tensors of one element. Nested dicts
                become names joined with ``/``. NaN and infinities are stored as they are.
            step: a whole number of 64 bits, also as a float; may repeat and go back. Default: the number of
                earlier non-empty calls.

        Returns:
            True if the event is in the outbox. False if the outbox was full and the event was dropped; the
            gap is recorded, and ``finish()`` warns of it.

        Raises:
            TypeError, ValueError: not a number, not a name, more than 10,000 metrics; the text says which.
            TrackingError: the tracker is finished.

        Blocks: about a microsecond, see ``docs/guarantees.md``; for the exceptions, see the class.
        """
        return self._emit_metrics(metrics, step)

    def log_hyperparameters(self, hyperparameters: Any) -> bool:
        """Log parameters; a later call is merged into the earlier ones, and the history of changes is kept.

        Args:
            hyperparameters: a (nested) dict, an argparse namespace, a dataclass, attrs, pydantic or
                NamedTuple instance, absl's flags, or an object whose settings are its attributes. A value
                without a JSON type becomes its ``str()``, marked as text. A value that cannot be read, refers
                back to its container, or is too large becomes a marked text, too. Beyond 100,000 values or
                4 MiB, and in a list over 200 KiB, a mark and a warning report that values were left out.

        Returns:
            As ``log_metrics``; True also if there are no parameters.

        Raises:
            TypeError: an object of another kind, whose values have no names. No value raises.
            TrackingError: the tracker is finished.

        Blocks: as long as a walk through the values takes, with their own ``__str__`` and properties.
        """
        found = param_events(hyperparameters)
        if found.left_out:
            from neural.tracking.core.warn import warn

            warn(
                "run %s: not all parameters were kept; a mark shows where some are left out",
                self.experiment_name,
            )
        kept = [self._recorder.emit("params", data) for data in found.events]
        return all(kept)

    def log_text(self, name: str, text: str, step: int | None = None) -> bool:
        """Log a text under a name, for example a sample or a remark; return as log_metrics.

        Raises:
            PayloadTooLargeError: over 256 KiB.
            TypeError, ValueError: ``name`` cannot name a metric, ``text`` is not text, or a bad step.
            TrackingError: the tracker is finished.
        """
        check_metric_name(name)
        if not isinstance(text, str):
            raise TypeError(f"text {name!r} must be text, not {type(text).__name__}; pass str() of it")
        whole = text.encode("utf-8", "backslashreplace").decode()
        return self._recorder.emit("text", {"name": name, "text": whole}, step=step)

    def add_tags(self, *tags: str | Iterable[str]) -> bool:
        """Add tags to the run, given one by one or as lists; return as log_metrics, True for no tags.

        Raises:
            TypeError, InvalidNameError: a tag is not text, empty, over 256 bytes, or has a control character.
            ConfigError: more than 256 tags in one call.
            TrackingError: the tracker is finished.
        """
        checked = check_tags([tag for given in tags for tag in one_or_many(given)])
        return self._recorder.emit("tags", {"add": checked}) if checked else True

    # Ending

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything that this process logged is stored and visible; return whether it is.

        This includes artifacts. Gaps and lost artifacts do not make it False; a warning reports lost artifacts.
        True at once if this process has no session, as in ``disabled`` mode. False early if no collector can
        start with the present settings.

        Raises:
            TypeError: ``timeout`` is not a number.

        Blocks: ``timeout`` seconds at most.
        """
        return self._recorder.flush(timeout)

    def finish(self, status: str = "completed", timeout: float | None = None) -> bool:
        """End the run and wait for its storage; the collector continues the delivery afterwards.

        A second call only waits again, as ``flush``, by default for 0 s.

        Args:
            status: ``completed`` or ``failed``.
            timeout: seconds; default 5, and 60 where the collector cannot outlive this process.

        Returns:
            Whether everything is stored. False means that it is not stored yet, or that the run was deleted.
            Gaps and lost artifacts do not make it False; a warning reports them.

        Raises:
            ConfigError: another status.
            TypeError: ``timeout`` is not a number.

        Blocks: ``timeout`` at most, whatever is down; a sender that does not stop may add one second.
        """
        return self._end(status, None, timeout)

    def _end(self, status: str, error: str | None, timeout_s: float | None) -> bool:
        done = self._recorder.close(status, error, timeout_s)
        self._emit_metrics = self._emit_first_metrics  # which refuses from now on
        return done

    def _emit_first_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> bool:
        """Open the session if it is not open; later calls go directly to its emitter."""
        emit = self._recorder.metrics_emitter()
        kept = emit(metrics, step)
        self._recorder.started = self._recorder.started or bool(metrics)
        self._emit_metrics = emit
        return kept
