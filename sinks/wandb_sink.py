"""Delivers to Weights & Biases: project = the run's name, run ``<name>_<id>``, id = our uid, resumed.

One history row an event, in the order they were logged: ``_step`` is our own count of rows and the
training's step is the axis ``step``, so steps may repeat and go back. Other ranks' metrics are
``rank_<k>/<metric>``. W&B's ``log`` only queues, so a flush finishes the run and the next row opens it
again: nothing is lost, and rows that come again after a crash carry the ``_step`` they had.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neural.tracking.errors import RefusedForGood, RetryLater
from neural.tracking.sinks.mapping import png_size, rank_prefix
from neural.tracking.sinks.sink import Option, RunEvent, RunInfo, SinkPlace

if TYPE_CHECKING:
    import wandb

STEP = "step"
MODES = ("online", "offline", "disabled")
DENIED_AFTER_S = 60.0
OPEN_TIMEOUT_S = 30.0  # well below a call's deadline: a server that is away is no death of the worker
MAX_NAME = 128  # of a project and of a run


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
        self._place = place
        self._options = options
        self._open: dict[str, tuple[wandb.Run, RunInfo]] = {}
        self._unflushed = False

    def open(self) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        if "wandb" not in sys.modules:
            os.environ.pop("WANDB_SERVICE", None)  # a training's own: it ends with the training
        if file := self._options.get("api_key_file"):
            os.environ["WANDB_API_KEY"] = _secret(Path(file).expanduser())
        import wandb  # noqa: F401 - whether it is there is found out here

    def write(self, events: Sequence[RunEvent]) -> None:
        self._unflushed = True
        with _translated_errors():
            for event in events:
                self._deliver(event)

    def flush(self) -> None:
        """Finish every open run and its service: only once that has left, W&B has everything."""
        if not self._unflushed:
            return
        import wandb

        with _translated_errors():
            for uid in list(self._open):
                run, info = self._open.pop(uid)
                run.finish(exit_code=int(info.memory.get("exit_code", 0)))
            wandb.teardown()
        self._unflushed = False

    def close(self) -> None:
        self._open.clear()

    def points(self, run: RunInfo) -> list[tuple[str, int, float]] | None:
        """Return (metric, step, value) of what the server holds; None offline, where there is none."""
        if not (run.link or "").startswith("http"):
            return None
        import wandb

        path = "/".join(part for part in (run.link or "").split("/")[3:] if part != "runs")
        rows = wandb.Api().run(path).scan_history()
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
            self._run(event.run).config.update(dict(data["values"]), allow_val_change=True)
        elif event.kind == "open":
            self._about(event.run, data)
        elif event.kind == "tags":
            self._about(event.run, {"tags": data["add"]})
        elif event.kind == "notes":
            self._about(event.run, data)
        elif event.kind == "metadata" and event.rank == 0:
            told = {key: value for key, value in (data.get("values") or {}).items() if key != "packages"}
            self._run(event.run).config.update({"ntrack": told}, allow_val_change=True)
        elif event.kind == "artifact":
            self._artifact(event)
        elif event.kind == "status" and data["ended"]:
            run = self._run(event.run)
            if data.get("error"):
                run.summary["error"] = data["error"]
            # Kept: an artifact that is stored after the end opens the run once more.
            event.run.memory["exit_code"] = 0 if data["status"] == "completed" else 1
            run.finish(exit_code=event.run.memory["exit_code"])
            self._open.pop(event.run.uid, None)

    def _artifact(self, event: RunEvent) -> None:
        """Log a figure as an image, anything else as an artifact with our version as its alias."""
        import wandb

        data, path = event.data, Path(event.data["path"])
        if not path.exists():
            raise RefusedForGood(f"{path} is not there any more")
        if data["type"] == "figure" and png_size(path) is not None:
            self._row(event, {_key(data["name"]): wandb.Image(str(path))})
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
        self._run(event.run).log_artifact(made, aliases=["latest", *version, *data["aliases"]])

    def _row(self, event: RunEvent, values: dict[str, Any]) -> None:
        run, memory = self._run(event.run), event.run.memory
        row = int(memory.get("rows", 0))
        run.log({**values, STEP: event.step or 0, "_timestamp": event.time_ns / 1e9}, step=row)
        memory["rows"] = row + 1

    def _about(self, info: RunInfo, data: Mapping[str, Any]) -> None:
        run = self._run(info)
        if data.get("tags"):
            run.tags = tuple(dict.fromkeys([*(run.tags or ()), *(tag[:64] for tag in data["tags"])]))
        if data.get("notes"):
            run.notes = data["notes"]

    def _run(self, info: RunInfo) -> wandb.Run:
        """Return W&B's run, opened or resumed."""
        if info.uid in self._open:
            return self._open[info.uid][0]
        import wandb

        options = self._options
        settings: dict[str, Any] = {
            "console": "off",
            "silent": True,
            "disable_git": True,
            "disable_job_creation": True,
            "save_code": False,
            "x_disable_stats": True,
            "x_disable_meta": True,  # of the worker's machine and command: they are not the training's
            "x_disable_machine_info": True,
            "x_save_requirements": False,
            # Two openings within a second would otherwise share a folder, and with it a file.
            "x_sync_dir_suffix": f"{info.memory.get('rows', 0)}-{os.getpid()}",
            "x_start_time": info.opened_ns / 1e9,
            "init_timeout": OPEN_TIMEOUT_S,
        }
        if base_url := options.get("base_url") or info.env.get("WANDB_BASE_URL"):
            settings["base_url"] = base_url
        folder = options.get("folder") or info.env.get("WANDB_DIR") or str(self._place.base_dir)
        Path(folder).mkdir(parents=True, exist_ok=True)
        mode: Any = (
            options.get("mode") or info.env.get("WANDB_MODE") or os.environ.get("WANDB_MODE") or "online"
        )
        run = self._opened(
            project=_project(options.get("project") or info.env.get("WANDB_PROJECT") or info.name),
            entity=options.get("entity") or info.env.get("WANDB_ENTITY") or None,
            id=info.uid,
            name=info.label[:MAX_NAME],
            resume="allow",
            mode=mode,
            dir=folder,
            reinit="create_new",
            settings=wandb.Settings(**settings),
        )
        run.define_metric(STEP, hidden=True)
        run.define_metric("*", step_metric=STEP)
        info.link = run.url or f"{folder}/wandb run {info.uid}; `wandb sync` sends it"
        self._open[info.uid] = (run, info)
        return run

    def _opened(self, **options: Any) -> wandb.Run:
        """Return a run W&B opened; where it could not, its service is left: it would not let the run go."""
        import wandb

        try:
            return wandb.init(**options)
        except Exception:
            self.flush()
            raise


def _key(name: str) -> str:
    """Return the history's name of a metric: the axis keeps its own, and ``_`` is for W&B's."""
    return f"metric/{name}" if name == STEP or name.startswith("_") else name


def _artifact_name(run: RunInfo, name: str) -> str:
    """Return a name W&B takes, the run's id in it: artifacts of a project share one space of names."""
    return f"{run.id}-" + "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)[:110]


def _project(name: str) -> str:
    """Return a project's name without what W&B forbids in one."""
    return "".join("-" if char in "/\\#?%:\r\n" else char for char in name)[:MAX_NAME]


def _secret(path: Path) -> str:
    """Return what a file of mode 0600 holds; raises RetryLater where others may read it too."""
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise RetryLater(f"{path} may be read by others: chmod 600 it", after_s=DENIED_AFTER_S)
        return path.read_text().strip()
    except OSError as error:
        raise RetryLater(f"cannot read {path}: {error}", after_s=DENIED_AFTER_S) from error


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Tell the world's troubles from what nobody foresaw, by W&B's own classes."""
    import wandb

    try:
        yield
    except (wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
        raise RetryLater(
            f"W&B rejected the credentials or settings: {error}", after_s=DENIED_AFTER_S
        ) from error
    except wandb.errors.CommError as error:
        raise RetryLater(f"W&B cannot be reached: {error}") from error
    except OSError as error:
        raise RetryLater(f"W&B's files or service: {error}") from error
