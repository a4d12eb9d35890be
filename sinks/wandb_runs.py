"""W&B's runs as one worker has them open: opened, finished, and asked after at the server.

W&B's own service sends in the background, and goes on trying while the server is away. ``run.finish()``
waits for it without limit: here a call waits for a while, and a later one goes on waiting, so an outage
or a large artifact may last as long as it does. A finish also returns in good order where the service
gave up, say for rejected credentials: what a run was given counts once the server says that it has it.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Mapping
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from neural.tracking.errors import RefusedForGood, RetryLater, WriteAgain
from neural.tracking.sinks.sink import RunInfo, SinkPlace

if TYPE_CHECKING:
    import wandb

STEP = "step"
DENIED_AFTER_S = 60.0
LONGEST_OPEN_S = 30.0
MAX_NAME = 128  # of a project and of a run
FOR_EVER = 1_000_000  # tries: an outage ends when it ends


class StillUploading(RetryLater):
    """An artifact is on its way, and nothing says that it will not arrive."""


@dataclass(eq=False)
class _Open:
    """A run W&B opened; ``ending`` is its finish, ``held`` how many rows the server had."""

    run: wandb.Run
    info: RunInfo
    held: int
    ending: futures.Future[None] | None = None
    began_s: float = 0.0


class OpenRuns:
    """Opens runs by what their events say, and closes them for good."""

    def __init__(self, place: SinkPlace, options: Mapping[str, str]) -> None:
        self._place = place
        self._options = options
        self._open: dict[str, _Open] = {}
        self._ender = futures.ThreadPoolExecutor(1, "finish")  # one run after the other
        self._owing: dict[str, tuple[str, RunInfo]] = {}  # finished, not yet seen at the server: paths there
        # A call may try to open a run, then wait for another's end and for the server's word.
        self._patience_s = place.call_timeout_s / 4
        self._called_s = 0.0

    def called(self) -> None:
        """Begin to count how long a call into the sink lasts."""
        self._called_s = time.monotonic()

    def get(self, info: RunInfo) -> wandb.Run:
        """Return W&B's run, opened or resumed."""
        return self._got(info).run

    def log(self, info: RunInfo, values: dict[str, Any]) -> None:
        """Log the run's next row, unless the server has it from before a crash."""
        known, row = self._got(info), int(info.memory.get("rows", 0))
        if row >= known.held:
            known.run.log(values, step=row)
        info.memory["rows"] = row + 1

    def ends(self, info: RunInfo) -> bool:
        """Return whether the run's end was begun and waits for the server."""
        known = self._open.get(info.uid)
        return known is not None and known.ending is not None

    def finish(self, info: RunInfo) -> None:
        """Return once the run is finished; raises RetryLater where that takes longer than a call may wait."""
        known = self._open.get(info.uid)
        if known is None:
            return
        if known.ending is None:
            known.began_s = time.monotonic()
            known.ending = self._ender.submit(known.run.finish, int(info.memory.get("exit_code", 0)))
        if not futures.wait([known.ending], self._patience_s).done:
            if _suspended():
                raise RuntimeError("W&B's service is suspended")  # a new process has a new one
            waited_s = time.monotonic() - known.began_s
            state = f"for {waited_s:.0f} s: its server is away or slow"
            raise RetryLater(f"W&B has not taken all of run {info.label} yet, {state}")
        known.ending.result()
        del self._open[info.uid]
        if _is_online(info):
            path = f"{known.run.entity}/{known.run.project}/{info.uid}"
            self._owing[info.uid] = (path, info)

    def upload(self, info: RunInfo, made: wandb.Artifact, aliases: list[str]) -> bool:
        """Hand over an artifact; return whether it is to be waited for: offline there is nobody to take it."""
        self._got(info).run.log_artifact(made, aliases=aliases)
        return _is_online(info)

    def await_upload(self, made: wandb.Artifact) -> None:
        """Return once the server has the artifact.

        Raises:
            StillUploading: it takes longer than a call may wait, and goes on.
            RetryLater: it failed, and may be tried anew.
            RefusedForGood: the server does not take it.
        """
        from wandb.sdk.artifacts.exceptions import WaitTimeoutError
        from wandb.sdk.lib.service.service_connection import WandbApiFailedError

        try:
            made.wait(timeout=max(1, int(self._patience_s)))
        except WaitTimeoutError as error:
            raise StillUploading(f"W&B has not taken all of {made.name} yet") from error
        except WandbApiFailedError as error:
            raise StillUploading(str(trouble(error, f" to be asked for {made.name}"))) from error
        except ValueError as error:  # what its service says of one that failed
            told = trouble(error)
            raise told if told.after_s else RefusedForGood(f"W&B does not take {made.name}: {error}") from error

    def settle(self) -> None:
        """Finish every run, ask the server for what it has of each, and leave the service."""
        import wandb

        for known in list(self._open.values()):
            self._check_time()
            self.finish(known.info)
        for uid, (path, info) in list(self._owing.items()):
            self._check_time()
            self._prove(path, info)
            del self._owing[uid]
        wandb.teardown()

    def abandon(self) -> None:
        """End W&B's service with what it has not sent: nobody waits for that, it is written again."""
        self._open.clear()
        self._owing.clear()
        with contextlib.suppress(psutil.Error):
            for service in _services():
                service.kill()

    def _check_time(self) -> None:
        """Leave the next run to the next call where this one lasts too long already."""
        if time.monotonic() - self._called_s > self._patience_s:
            raise RetryLater("there are more runs than one call can open and finish; it goes on", after_s=0.0)

    def api(self, info: RunInfo) -> wandb.Api:
        """Return W&B's interface for reading, at the server the run is on."""
        import wandb

        given = {"base_url": base_url} if (base_url := self._base_url(info)) else {}
        return wandb.Api(given, timeout=max(1, int(self._patience_s)), api_key=self._key())

    def _prove(self, path: str, info: RunInfo) -> None:
        """Return once the server says that it has every row it was given."""
        rows, until = int(info.memory.get("rows", 0)), time.monotonic() + self._patience_s
        while (held := self._held(path, info)) < rows:
            if time.monotonic() > until:
                raise WriteAgain(f"W&B has {held} of {rows} rows of run {info.label}")
            time.sleep(0.5)

    def _held(self, path: str, info: RunInfo) -> int:
        """Return how many rows the server has of a run."""
        import wandb
        from wandb.sdk.lib.service.service_connection import WandbApiFailedError

        try:
            told = self.api(info).run(path)
            # A server that once lost rows has fewer lines; the summary may be too large to be sent.
            return max(int(told.historyLineCount or 0), int(told.summary.get("_step", -1)) + 1)
        except (wandb.errors.CommError, WandbApiFailedError) as error:
            told = trouble(error, f" to be asked what it has of run {info.label}")
            if told.after_s:  # parameters and all else that is no row may have been rejected as well
                raise WriteAgain(str(told)) from error
            raise told from error

    def _got(self, info: RunInfo) -> _Open:
        known = self._open.get(info.uid)
        if known is not None and known.ending is None:
            return known
        self._check_time()
        self.finish(info)
        run = self._opened(info)
        run.define_metric(STEP, hidden=True)
        run.define_metric("*", step_metric=STEP)
        info.link = run.url or f"{self._folder(info)}/wandb run {info.uid}; `wandb sync` sends it"
        self._open[info.uid] = opened = _Open(run, info, held=run.starting_step)
        return opened

    def _opened(self, info: RunInfo) -> wandb.Run:
        import wandb

        options, folder = self._options, self._folder(info)
        Path(folder).mkdir(parents=True, exist_ok=True)
        mode: Any = (
            options.get("mode") or info.env.get("WANDB_MODE") or os.environ.get("WANDB_MODE") or "online"
        )
        settings = wandb.Settings(**self._settings(info))
        try:
            return wandb.init(
                project=_project(options.get("project") or info.env.get("WANDB_PROJECT") or info.name),
                entity=options.get("entity") or info.env.get("WANDB_ENTITY") or None,
                id=info.uid,
                name=info.label[:MAX_NAME],
                resume="allow",
                mode=mode,
                dir=folder,
                reinit="create_new",
                settings=settings,
            )
        except Exception:
            self.settle()  # or its service would keep the run, and say it is in use
            raise

    def _settings(self, info: RunInfo) -> dict[str, Any]:
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
            "init_timeout": min(LONGEST_OPEN_S, self._patience_s),
            "stop_fn": _stay,
            "x_file_stream_retry_max": FOR_EVER,
            "x_file_transfer_retry_max": FOR_EVER,
            "x_graphql_retry_max": FOR_EVER,
        }
        if base_url := self._base_url(info):
            settings["base_url"] = base_url
        if key := self._key():
            settings["api_key"] = key
        return settings

    def _key(self) -> str | None:
        """Return what the file with the key holds now: it may have been mended."""
        file = self._options.get("api_key_file")
        return _secret(Path(file).expanduser()) if file else None

    def _base_url(self, info: RunInfo) -> str | None:
        return self._options.get("base_url") or info.env.get("WANDB_BASE_URL")

    def _folder(self, info: RunInfo) -> str:
        return self._options.get("folder") or info.env.get("WANDB_DIR") or str(self._place.base_dir)


def trouble(error: Exception, purpose: str = "") -> RetryLater:
    """Return what to raise where W&B's server did not answer, or said no."""
    text = " ".join(str(error).split())
    if re.search(r"\b40[13]\b|api.?key|not logged in", text, re.IGNORECASE):
        return RetryLater(f"W&B rejected the credentials: {text}", after_s=DENIED_AFTER_S)
    return RetryLater(f"W&B cannot be reached{purpose}: {text}")


def _services() -> list[psutil.Process]:
    """Return this process's own services of W&B."""
    return [child for child in psutil.Process().children() if child.name().startswith("wandb-core")]


def _suspended() -> bool:
    """Return whether a service stands still, which no server's return would change."""
    with contextlib.suppress(psutil.Error):
        return any(service.status() == psutil.STATUS_STOPPED for service in _services())
    return False


def _is_online(info: RunInfo) -> bool:
    return (info.link or "").startswith("http")


def _stay() -> None:
    """Do nothing when the run is stopped on W&B's page: this is not the training, and would be interrupted."""


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
