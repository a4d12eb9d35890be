"""Writes to backends without a tracker: each call returns once the backend has the data, or raises.

    from neural.tracking.integrations import create_integration

    with create_integration("mlflow", "my_experiment", tracking_uri="http://…") as run:
        run.log_metrics({"loss": 0.5}, step=1)

It uses the same sinks as the collector, with the same mapping. It imports the backend's package into the
process. A training that must not wait for a backend passes ``backend=`` to its tracker instead.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from neural.tracking.agent.emit.metric_values import check_step, flatten
from neural.tracking.core.names import check_artifact_name, check_run_name
from neural.tracking.errors import ConfigError, RetryLater, TrackingError, WriteAgain, did_you_mean
from neural.tracking.formats.run_file import resolve_base_dir
from neural.tracking.params.plain import param_events
from neural.tracking.sink_state.config import SinkConfig, backend_environment
from neural.tracking.sinks.base import RunEvent, RunInfo, SinkPlace
from neural.tracking.sinks.registry import make_sink, types

DEFAULT_TIMEOUT_S = 60.0


class BaseIntegration:
    """One run in one backend. Not safe for several threads at once.

    Every call blocks until the backend has the data, and retries for ``timeout_s`` seconds at most. It raises
    RetryLater if the backend could not be reached in time, WriteAgain or RefusedForGood if it lost or refused
    the data, and TrackingError after ``finish()``.
    """

    backend: ClassVar[str] = ""

    def __init__(
        self,
        experiment_name: str,
        *,
        base_dir: str | os.PathLike[str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        **settings: Any,
    ) -> None:
        """Open the backend and a new run in it.

        Args:
            experiment_name: as for the tracker.
            base_dir: the folder for backends that write files; default as for the tracker.
            timeout_s: seconds for which a call retries before it raises.
            settings: the options of the backend's sink; see ``docs/sinks.md``.

        Raises:
            ConfigError, TypeError: a setting is unknown or cannot be used.
            ModuleNotFoundError: the backend's package is not installed.
            RetryLater: the backend could not be reached in time.
            OSError: ``base_dir`` cannot be created.
        """
        if not self.backend:
            raise TypeError(f"{type(self).__name__} names no backend; create_integration() makes one that does")
        base = resolve_base_dir(base_dir)
        base.mkdir(parents=True, exist_ok=True)
        name = check_run_name(experiment_name)
        uid = os.urandom(16).hex()
        self.run = RunInfo(uid, name, base / f"{name}_{uid[:8]}", time.time_ns(), backend_environment())
        self._timeout_s = timeout_s
        self._session = os.urandom(16).hex()
        self._seq = 0
        self._next_step = 0
        self._versions: Counter[str] = Counter()
        self._finished = False
        config = SinkConfig(name=self.backend, type=self.backend, options=settings)
        self._sink = make_sink(config, SinkPlace(self.backend, base, uid[:8]))
        self._retry(self._sink.open)

    def __enter__(self) -> BaseIntegration:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish("completed" if error is None else "failed")

    @property
    def link(self) -> str | None:
        """The address of the run in the backend; None until something was logged, or if it has none."""
        return self.run.link

    def log_hyperparameters(self, hyperparameters: Any) -> None:
        """Log parameters; takes and refuses the same objects as the tracker."""
        for data in param_events(hyperparameters).events:
            self._log("params", data)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log the values of some metrics at one step; the default is one more than the last step, first 0.

        Nested dicts become names joined with ``/``.

        Raises:
            TypeError, ValueError: as ``ExperimentTracker.log_metrics``.
        """
        names, values = flatten(metrics)
        if names:
            chosen = self._next_step if step is None else check_step(step)
            self._log("metrics", dict(zip(names, values, strict=True)), step=chosen)
            self._next_step = chosen + 1

    def log_text(self, name: str, text: str, step: int | None = None) -> None:
        """Log a text under a name; see the class for errors."""
        self._log("text", {"name": name, "text": text}, step=step)

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Log a file or a folder; each call with the same name is the next version. Raises OSError."""
        self._log_file("artifact", Path(path), name or Path(path).name, {})

    def log_model(self, path: str | os.PathLike[str], framework: str = "unknown") -> None:
        """Log a model's file or folder. Raises OSError."""
        self._log_file("model", Path(path), Path(path).name, {"framework": framework})

    def log_figure(self, figure: Any, name: str) -> None:
        """Log a figure of matplotlib or plotly.

        Raises:
            TypeError: a figure of another kind.
        """
        from neural.tracking.api.figure_files import figure_files

        with tempfile.TemporaryDirectory(prefix="ntrack-") as folder:
            for file_name, write in figure_files(figure, check_artifact_name(name)):
                path = Path(folder) / file_name
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path)
                self._log_file("figure", path, file_name, {})
            self.flush()  # before the temporary files are removed

    def flush(self) -> None:
        """Wait until everything logged is durable in the backend; see the class for errors."""
        self._retry(self._sink.flush)

    def finish(self, status: str = "completed") -> None:
        """End the run; a second call does nothing.

        Raises:
            ConfigError: another status than ``completed`` or ``failed``.
        """
        if status not in ("completed", "failed"):
            raise ConfigError(f"status is {status!r}; a run ends completed or failed")
        if self._finished:
            return
        self._log("status", {"status": status, "error": None, "ended": True})
        self._finished = True
        self.flush()
        self._sink.close()

    def _log_file(self, kind: str, path: Path, name: str, metadata: Mapping[str, Any]) -> None:
        check_artifact_name(name)
        size = sum(p.stat().st_size for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file())
        with path.open("rb") if path.is_file() else tempfile.TemporaryFile() as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        self._versions[name] += 1
        about = {"name": name, "version": self._versions[name], "path": str(path.absolute()), "type": kind}
        more = {"checksum": checksum, "size": size, "aliases": [], "metadata": dict(metadata), "uri": None}
        self._log("artifact", {**about, **more})

    def _log(self, kind: str, data: Mapping[str, Any], *, step: int | None = None) -> None:
        if self._finished:
            raise TrackingError(f"cannot log {kind}: this integration is finished")
        self._seq += 1
        event = RunEvent(self.run, self._session, 0, self._seq, time.time_ns(), step, kind, data)
        self._retry(lambda: self._sink.write([event]))

    def _retry(self, action: Any) -> None:
        """Retry an action with growing pauses until the time is over, as a worker does."""
        import stamina

        def may_help(error: Exception) -> bool:  # after WriteAgain only a new run can help
            return isinstance(error, RetryLater) and not isinstance(error, WriteAgain)

        for attempt in stamina.retry_context(
            on=may_help, attempts=None, timeout=self._timeout_s, wait_initial=0.2, wait_max=5.0
        ):
            with attempt:
                action()


class MLflowIntegration(BaseIntegration):
    """A run in MLflow; settings: ``tracking_uri``, ``experiment``, ``request_timeout_s``."""

    backend = "mlflow"


class WandbIntegration(BaseIntegration):
    """A run in Weights & Biases; settings: ``project``, ``entity``, ``mode``, ``base_url``, ``folder``."""

    backend = "wandb"


class TensorBoardIntegration(BaseIntegration):
    """A run in TensorBoard's folder; setting: ``folder``."""

    backend = "tensorboard"


_CLASSES: dict[str, type[BaseIntegration]] = {
    cls.backend: cls for cls in (MLflowIntegration, WandbIntegration, TensorBoardIntegration)
}


def create_integration(backend: str, experiment_name: str, **settings: Any) -> BaseIntegration:
    """Return an open integration; ``backend`` is any type of sink, also one of a plugin.

    Raises:
        ConfigError: there is no such backend; the text names the most similar one. All else as the classes.
    """
    known = _CLASSES.get(backend)
    if known is None:
        if backend not in types():
            raise ConfigError(f"there is no backend {backend!r}{did_you_mean(str(backend).lower(), types())}")
        known = type(f"{backend.title()}Integration", (BaseIntegration,), {"backend": backend})
    return known(experiment_name, **settings)
