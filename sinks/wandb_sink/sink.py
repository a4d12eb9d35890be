"""Delivers to Weights & Biases: project = the run's name, run ``<name>_<id>``, id = our uid, resumed.

One history row an event, in the order they were logged: ``_step`` is our own count of rows and the
training's step is the axis ``step``, so steps may repeat and go back. Other ranks' metrics are
``rank_<k>/<metric>``. W&B's ``log`` only queues, so a flush finishes the run and the next row opens it
again: nothing is lost, and a row that comes again after a crash carries the ``_step`` it had: it is left
out where the server has that, and stands there twice in the files of an offline run.
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
from neural.tracking.sinks.wandb_sink.connection import DENIED_AFTER_S, trouble
from neural.tracking.sinks.wandb_sink.runs import STEP, OpenRuns

if TYPE_CHECKING:
    import wandb

MODES = ("online", "offline", "disabled")
Identity = tuple[str, str, int, int]


class WandbSink:
    """Delivers through the wandb package, online or offline as its own environment variables say."""

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
        self._handed: set[Identity] = set()  # of a batch that will come again
        self._refusals: list[tuple[RunEvent, str]] = []  # to be told once the rest of a batch is through
        self._uploads: dict[Identity, wandb.Artifact] = {}

    def open(self) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        if "wandb" not in sys.modules:
            os.environ.pop("WANDB_SERVICE", None)  # a training's own: it ends with the training
        import wandb  # noqa: F401 - whether it is there is found out here

    def write(self, events: Sequence[RunEvent]) -> None:
        self._unflushed = True
        self._runs.called()
        fresh = [event for event in events if _identity(event) not in self._handed] if self._handed else events
        with _translated_errors():
            for number, event in enumerate(fresh):
                try:
                    self._deliver(event)
                except RefusedForGood as error:
                    self._refusals.append((event, str(error)))
                except Exception:
                    # W&B's service sends what it has of them all the same: it must not be given that twice.
                    self._handed.update(map(_identity, fresh[:number]))
                    raise
            self._await_uploads(events)
        if self._handed:
            self._handed.difference_update(map(_identity, events))
        self._tell_refusals()

    def flush(self) -> None:
        """Finish every open run and its service; return once the server has everything."""
        if self._unflushed:
            self._runs.called()
            with _translated_errors():
                self._runs.settle()
            self._unflushed = False
        self._refusals += self._runs.turned_down()
        self._tell_refusals()

    def _tell_refusals(self) -> None:
        told, self._refusals = self._refusals, []
        if told:
            raise RefusedForGood(told[0][1], told)

    def close(self) -> None:
        if self._unflushed:
            self._runs.abandon()

    def points(self, run: RunInfo) -> list[tuple[str, int, float]] | None:
        """Return (metric, step, value) of what the server holds; None offline, where there is none."""
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
            told = {key: value for key, value in (data.get("values") or {}).items() if key != "packages"}
            self._configure(event, {"ntrack": told})
        elif event.kind == "artifact":
            self._artifact(event)
        elif event.kind == "status" and data["ended"]:
            self._end(event.run, data)

    def _end(self, info: RunInfo, data: Mapping[str, Any]) -> None:
        if not self._runs.ends(info):  # else the event comes again, and is waited for again
            run = self._runs.get(info)
            if data.get("error"):
                run.summary["error"] = data["error"]
            # Kept: an artifact that is stored after the end opens the run once more.
            info.memory["exit_code"] = 0 if data["status"] == "completed" else 1
        self._runs.finish(info)

    def _await_uploads(self, events: Sequence[RunEvent]) -> None:
        """Return once the server has the events' artifacts: W&B tells only who asks that one failed."""
        if not self._uploads:
            return
        self._handed.update(map(_identity, events))
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
                    self._handed.discard(identity)
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
        about = {**data["metadata"], "sha256": data["checksum"], "version": data["version"]}
        made = wandb.Artifact(_artifact_name(event.run, data["name"]), type=data["type"], metadata=about)
        if data["uri"]:
            made.add_reference(data["uri"], checksum=False)
        elif path.is_dir():
            made.add_dir(str(path))
        else:
            made.add_file(str(path), name=data["name"])
        # W&B numbers versions itself, from v0; ours is an alias it cannot take for one of its own.
        version = [] if data["version"] is None else [f"ntrack-v{data['version']}"]
        if self._runs.upload(event.run, made, ["latest", *version, *data["aliases"]]):
            self._uploads[_identity(event)] = made

    def _row(self, event: RunEvent, values: dict[str, Any]) -> None:
        self._runs.log(event.run, {**values, **_axes(event)})

    def _parameters(self, event: RunEvent, values: Mapping[str, Any]) -> None:
        """Merge parameters: W&B replaces a nested value as a whole, and a call may come in parts."""
        known = merge_params(event.run.memory.get("params", {}), values)
        event.run.memory["params"] = known
        self._configure(event, {name: known[name] for name in values})

    def _configure(self, event: RunEvent, values: Mapping[str, Any]) -> None:
        self._runs.owe(confirmation.parameters(event, self._runs.get(event.run), values))

    def _about(self, event: RunEvent, data: Mapping[str, Any]) -> None:
        run = self._runs.get(event.run)
        if data.get("tags"):
            self._runs.owe(confirmation.tags(event, run, [tag[:64] for tag in data["tags"]]))
        if data.get("notes"):
            self._runs.owe(confirmation.notes(event, run, data["notes"]))


def _axes(event: RunEvent) -> dict[str, Any]:
    return {STEP: event.step or 0, "_timestamp": event.time_ns / 1e9}


def _identity(event: RunEvent) -> Identity:
    return event.run.uid, event.session, event.seq, event.time_ns


def _key(name: str) -> str:
    """Return the history's name of a metric: the axis keeps its own, and ``_`` is for W&B's."""
    return f"metric/{name}" if name == STEP or name.startswith("_") else name


def _artifact_name(run: RunInfo, name: str) -> str:
    """Return a name W&B takes, the run's id in it: artifacts of a project share one space of names."""
    return f"{run.id}-" + "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)[:110]


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Tell the world's troubles from what nobody foresaw, by W&B's own classes."""
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    try:
        yield
    except wandb.errors.UsageError as error:
        raise RetryLater(f"W&B does not take the settings: {error}", after_s=DENIED_AFTER_S) from error
    except (wandb.errors.CommError, WandbApiFailedError) as error:
        raise trouble(error) from error
    except ConnectionError:  # to its service, which is gone: only a new process has a new one
        raise
    except OSError as error:
        raise RetryLater(f"W&B's files: {error}") from error
