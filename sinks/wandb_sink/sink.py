"""Delivers to Weights & Biases: project = the run's name, run ``<name>_<id>``, id = our uid, resumed.

Each event is one history row, in the order of logging. ``_step`` is our own count of rows, and the training's
step is the axis ``step``, so steps may repeat and go back. Other ranks' metrics are ``rank_<k>/<metric>``.
W&B's ``log`` only queues a row. So a flush finishes the run, and the next row opens it again. After a crash a
row is written again with the same ``_step``. The sink skips it if the server has it; the files of an offline
run then have it twice.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neural.tracking.errors import RefusedForGood, RetryLater, StillUploadingError
from neural.tracking.params.plain import merge_params
from neural.tracking.sinks.base import Option, RunEvent, RunInfo, SinkPlace
from neural.tracking.sinks.mapping import png_size, rank_prefix
from neural.tracking.sinks.wandb_sink import confirmation
from neural.tracking.sinks.wandb_sink.connection import DENIED_AFTER_S, retry_error
from neural.tracking.sinks.wandb_sink.runs import STEP, OpenRuns

if TYPE_CHECKING:
    import wandb

MODES = ("online", "offline", "disabled")
Identity = tuple[str, str, int, int]


class WandbSink:
    """Delivers through the wandb package, online or offline by ``mode`` or WANDB_MODE."""

    type: ClassVar[str] = "wandb"
    options: ClassVar[Mapping[str, Option]] = {
        "project": Option(str, "", "default: the run's WANDB_PROJECT, else the run's name"),
        "entity": Option(str, "", "default: the run's WANDB_ENTITY, else the key's own"),
        "mode": Option(str, "", "online, offline, disabled; default: the run's WANDB_MODE", MODES),
        "base_url": Option(str, "", "of a self-hosted server; default: WANDB_BASE_URL"),
        "folder": Option(str, "", "where wandb keeps its files; default: WANDB_DIR, else base_dir"),
        "api_key_file": Option(
            str, "", "a file of mode 0600 with the API key; default: WANDB_API_KEY, ~/.netrc"
        ),
    }
    delivery: ClassVar[Literal["exactly once", "at least once"]] = "at least once"
    batch_events: ClassVar[int] = 1000
    flush_every_s: ClassVar[float] = 60.0

    def __init__(self, place: SinkPlace, **options: str) -> None:
        self._runs = OpenRuns(place, options)
        self._unflushed = False
        self._taken: set[Identity] = set()  # events that W&B's service has, of a batch that is written again
        self._refusals: list[tuple[RunEvent, str]] = []  # raised after the rest of a batch is written
        self._uploads: dict[Identity, wandb.Artifact] = {}

    def open(self) -> None:
        """Import the wandb package; it does not connect yet. Raises ModuleNotFoundError."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        if "wandb" not in sys.modules:
            os.environ.pop("WANDB_SERVICE", None)  # the training's service, which ends with the training
        import wandb  # noqa: F401 - fails here if it is not installed

    def write(self, events: Sequence[RunEvent]) -> None:
        """Hand the events to W&B's service, and wait for the artifacts among them.

        Raises:
            RetryLater, RefusedForGood, HoldRun, WriteAgain: as in :class:`~neural.tracking.sinks.base.Sink`.
        """
        self._unflushed = True
        self._runs.start_call()
        fresh = [event for event in events if _identity(event) not in self._taken] if self._taken else events
        with _translated_errors():
            for number, event in enumerate(fresh):
                try:
                    self._deliver(event)
                except RefusedForGood as error:
                    self._refusals.append((event, str(error)))
                except Exception:
                    # W&B's service sends the earlier events anyway, so it must not get them twice.
                    self._taken.update(map(_identity, fresh[:number]))
                    raise
            self._await_uploads(events)
        if self._taken:
            self._taken.difference_update(map(_identity, events))
        self._raise_refusals()

    def flush(self) -> None:
        """Finish every open run and W&B's service; return once the server shows everything.

        Raises:
            RetryLater, RefusedForGood, WriteAgain: as in :class:`~neural.tracking.sinks.base.Sink`.
        """
        if self._unflushed:
            self._runs.start_call()
            with _translated_errors():
                self._runs.finish_all()
            self._unflushed = False
        self._refusals += self._runs.take_refused()
        self._raise_refusals()

    def _raise_refusals(self) -> None:
        refusals, self._refusals = self._refusals, []
        if refusals:
            raise RefusedForGood(refusals[0][1], refusals)

    def close(self) -> None:
        """Kill W&B's service if something is not flushed. Does not wait for it."""
        if self._unflushed:
            self._runs.abandon()

    def points(self, run: RunInfo) -> list[tuple[str, int, float]] | None:
        """Return (metric, step, value) of all points on the server; None offline, where there is no server."""
        if not (run.link or "").startswith("http"):
            return None
        path = "/".join(part for part in (run.link or "").split("/")[3:] if part != "runs")
        rows = self._runs.access.api(run).run(path).scan_history()
        return [
            (name, int(row[STEP]), float(value))
            for row in rows
            for name, value in row.items()
            if name != STEP and not name.startswith("_") and isinstance(value, int | float)
        ]

    def _deliver(self, event: RunEvent) -> None:
        data = event.data
        if event.kind == "metrics":
            prefix = rank_prefix(event.rank)
            self._row(event, {_key(prefix + name): value for name, value in data.items()})
        elif event.kind == "text":
            self._row(event, {_key(rank_prefix(event.rank) + data["name"]): data["text"]})
        elif event.kind == "params":
            self._parameters(event, data["values"])
        elif event.kind == "open":
            self._about(event, data)
        elif event.kind == "tags":
            self._about(event, {"tags": data["add"]})
        elif event.kind == "notes":
            self._about(event, data)
        elif event.kind == "metadata" and event.rank == 0:
            facts = {key: value for key, value in (data.get("values") or {}).items() if key != "packages"}
            self._configure(event, {"ntrack": facts})
        elif event.kind == "artifact":
            self._artifact(event)
        elif event.kind == "status" and data["ended"]:
            self._finish(event.run, data)

    def _finish(self, info: RunInfo, data: Mapping[str, Any]) -> None:
        if not self._runs.is_finishing(info):  # otherwise this is another try of the same event
            run = self._runs.get(info)
            if data.get("error"):
                run.summary["error"] = data["error"]
            # Kept, because an artifact that is stored after the end opens the run once more.
            info.memory["exit_code"] = 0 if data["status"] == "completed" else 1
        self._runs.finish(info)

    def _await_uploads(self, events: Sequence[RunEvent]) -> None:
        """Return once the server has the events' artifacts: W&B reports a failed one only on request."""
        if not self._uploads:
            return
        self._taken.update(map(_identity, events))
        for event in events:
            identity = _identity(event)
            if identity in self._uploads:
                try:
                    self._runs.await_upload(self._uploads[identity])
                except RefusedForGood as error:
                    self._refusals.append((event, str(error)))
                except StillUploadingError:
                    raise
                except RetryLater:
                    del self._uploads[identity]
                    self._taken.discard(identity)
                    raise
                del self._uploads[identity]

    def _artifact(self, event: RunEvent) -> None:
        """Log a figure as an image, anything else as an artifact with our version as its alias."""
        import wandb

        data, path = event.data, Path(event.data["path"])
        if not path.exists():
            raise RefusedForGood(f"{path} is not there any more")
        if data["type"] == "figure" and png_size(path) is not None:
            self._runs.log_image(event, _key(data["name"]), _axes(event))
            return
        metadata = {**data["metadata"], "sha256": data["checksum"], "version": data["version"]}
        made = wandb.Artifact(_artifact_name(event.run, data["name"]), type=data["type"], metadata=metadata)
        if data["uri"]:
            made.add_reference(data["uri"], checksum=False)
        elif path.is_dir():
            made.add_dir(str(path))
        else:
            made.add_file(str(path), name=data["name"])
        # W&B numbers versions on its own, from v0. Our version is an alias that differs from these numbers.
        version = [] if data["version"] is None else [f"ntrack-v{data['version']}"]
        if self._runs.upload(event.run, made, ["latest", *version, *data["aliases"]]):
            self._uploads[_identity(event)] = made

    def _row(self, event: RunEvent, values: dict[str, Any]) -> None:
        self._runs.log(event.run, {**values, **_axes(event)})

    def _parameters(self, event: RunEvent, values: Mapping[str, Any]) -> None:
        """Merge parameters: W&B replaces a nested value as a whole, and a call may have several events."""
        known = merge_params(event.run.memory.get("params", {}), values)
        event.run.memory["params"] = known
        self._configure(event, {name: known[name] for name in values})

    def _configure(self, event: RunEvent, values: Mapping[str, Any]) -> None:
        self._runs.expect(confirmation.parameters(event, self._runs.get(event.run), values))

    def _about(self, event: RunEvent, data: Mapping[str, Any]) -> None:
        run = self._runs.get(event.run)
        if data.get("tags"):
            self._runs.expect(confirmation.tags(event, run, [tag[:64] for tag in data["tags"]]))
        if data.get("notes"):
            self._runs.expect(confirmation.notes(event, run, data["notes"]))


def _axes(event: RunEvent) -> dict[str, Any]:
    return {STEP: event.step or 0, "_timestamp": event.time_ns / 1e9}


def _identity(event: RunEvent) -> Identity:
    return event.run.uid, event.session, event.seq, event.time_ns


def _key(name: str) -> str:
    """Return the name of a metric in W&B: ``step`` is the axis, and a leading ``_`` is reserved for W&B."""
    return f"metric/{name}" if name == STEP or name.startswith("_") else name


def _artifact_name(run: RunInfo, name: str) -> str:
    """Return a name that W&B accepts, with the run's id: all artifacts of a project share one namespace."""
    return f"{run.id}-" + "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)[:110]


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Turn W&B's errors about the environment into RetryLater; any other error remains as it is."""
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    try:
        yield
    except wandb.errors.UsageError as error:
        raise RetryLater(f"W&B does not take the settings: {error}", after_s=DENIED_AFTER_S) from error
    except (wandb.errors.CommError, WandbApiFailedError) as error:
        raise retry_error(error) from error
    except ConnectionError:  # W&B's service is gone: only a new process starts a new one
        raise
    except OSError as error:
        raise RetryLater(f"W&B's files: {error}") from error
