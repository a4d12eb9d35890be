"""W&B's runs as one worker has them open: opened, finished, and asked after at the server.

W&B's own service sends in the background, and goes on trying while the server is away. ``run.finish()``
waits for it without limit: here a call waits for a while, and a later one goes on waiting, so an outage
or a large artifact may last as long as it does. A finish also returns in good order where the service
gave up, say for rejected credentials: what a run was given counts once the server says that it has it.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from concurrent import futures
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from neural.tracking.errors import HoldRun, RefusedForGood, RetryLater, StillUploadingError, WriteAgain
from neural.tracking.sinks.base import RunEvent, RunInfo, SinkPlace
from neural.tracking.sinks.wandb_sink import confirmation
from neural.tracking.sinks.wandb_sink.confirmation import Owed
from neural.tracking.sinks.wandb_sink.connection import Access, trouble

if TYPE_CHECKING:
    import wandb

logger = logging.getLogger(__name__)

STEP = "step"


@dataclass(eq=False)
class _WandbRun:
    """A run W&B opened; ``ending`` is its finish, ``held`` how many rows the server had."""

    run: wandb.Run
    info: RunInfo
    held: int
    ending: futures.Future[None] | None = None
    began_s: float = 0.0


class OpenRuns:
    """Opens runs by what their events say, and closes them for good."""

    def __init__(self, place: SinkPlace, options: Mapping[str, str]) -> None:
        self._open: dict[str, _WandbRun] = {}
        self._ender = futures.ThreadPoolExecutor(1, "finish")  # one run after the other
        self._owing: dict[str, tuple[str, RunInfo]] = {}  # finished, not yet seen at the server: paths there
        self._owed: dict[str, list[Owed]] = {}
        self._turned_down: list[tuple[RunEvent, str]] = []
        # A call may try to open a run, then wait for another's end and for the server's word.
        self._patience_s = place.call_timeout_s / 4
        self.access = Access(place, options, self._patience_s)
        self._called_s = 0.0

    def called(self) -> None:
        """Begin to count how long a call into the sink lasts."""
        self._called_s = time.monotonic()

    def get(self, info: RunInfo) -> wandb.Run:
        """Return W&B's run, opened or resumed."""
        return self._got(info).run

    def log_image(self, event: RunEvent, key: str, rest: dict[str, Any]) -> None:
        """Log a row with a picture; where the server has the row from before a crash, its file all the same."""
        row = int(event.run.memory.get("rows", 0))
        made, owed = confirmation.image(event, self.get(event.run), key, row)
        self.owe(owed)
        self.log(event.run, {key: made, **rest})

    def owe(self, owed: Owed | None) -> None:
        """Remember what the server is to show; offline there is nobody to ask."""
        if owed is not None and _is_online(owed.event.run):
            self._owed.setdefault(owed.event.run.uid, []).append(owed)

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
            self._check_there(known)
            waited_s = time.monotonic() - known.began_s
            state = f"for {waited_s:.0f} s: its server is away or slow"
            raise RetryLater(f"W&B has not taken all of run {info.label} yet, {state}")
        known.ending.result()
        del self._open[info.uid]
        if _is_online(info):
            self._owing[info.uid] = (_path(known.run), info)

    def upload(self, info: RunInfo, made: wandb.Artifact, aliases: list[str]) -> bool:
        """Hand over an artifact; return whether it is to be waited for: offline there is nobody to take it."""
        self._got(info).run.log_artifact(made, aliases=aliases)
        return _is_online(info)

    def await_upload(self, made: wandb.Artifact) -> None:
        """Return once the server has the artifact.

        Raises:
            StillUploadingError: it takes longer than a call may wait, and goes on.
            RetryLater: it failed, and may be tried anew.
            RefusedForGood: the server does not take it.
        """
        from wandb.sdk.artifacts.exceptions import WaitTimeoutError
        from wandb.sdk.lib.service.service_connection import WandbApiFailedError

        try:
            made.wait(timeout=max(1, int(self._patience_s)))
        except WaitTimeoutError as error:
            raise StillUploadingError(f"W&B has not taken all of {made.name} yet") from error
        except WandbApiFailedError as error:
            raise StillUploadingError(str(trouble(error, f" to be asked for {made.name}"))) from error
        except ValueError as error:  # what its service says of one that failed
            told = trouble(error)
            raise told if told.after_s else RefusedForGood(f"W&B does not take {made.name}: {error}") from error

    def settle(self) -> None:
        """Finish every run, ask the server for what it has of each, and leave the service."""
        import wandb

        self._send_again()
        for known in list(self._open.values()):
            self._check_time()
            self.finish(known.info)
        for uid, (path, info) in list(self._owing.items()):
            self._check_time()
            self._prove(path, info)
            del self._owing[uid]
        if any(self._owed.values()):
            whats = sorted({owed.what for those in self._owed.values() for owed in those})
            raise RetryLater(f"W&B did not take {', '.join(whats)[:300]}: sent once more", after_s=0.0)
        wandb.teardown()

    def turned_down(self) -> list[tuple[RunEvent, str]]:
        """Return, once, which events the server did not take, and why."""
        told, self._turned_down = self._turned_down, []
        return told

    def abandon(self) -> None:
        """End W&B's service with what it has not sent: nobody waits for that, it is written again."""
        self._open.clear()
        self._owing.clear()
        self._owed.clear()
        with contextlib.suppress(psutil.Error):
            for service in _services():
                service.kill()

    def _check_time(self) -> None:
        """Leave the next run to the next call where this one lasts too long already."""
        if time.monotonic() - self._called_s > self._patience_s:
            raise RetryLater("there are more runs than one call can open and finish; it goes on", after_s=0.0)

    def _send_again(self) -> None:
        """Send what the server did not show: an address to upload to may have been too old by then."""
        for owed in [owed for those in self._owed.values() for owed in those if owed.is_lacking]:
            self._check_time()
            try:
                owed.send(self.get(owed.event.run))
            except HoldRun as error:
                raise WriteAgain(str(error)) from error
            except FileNotFoundError:
                pass  # then it stays lacking
            owed.is_lacking, owed.sent_again = False, True

    def _prove(self, path: str, info: RunInfo) -> None:
        """Return once the server says that it has every row it was given; note what else it lacks."""
        rows, until = int(info.memory.get("rows", 0)), time.monotonic() + self._patience_s
        while True:
            shown = self.access.shown(path, info)
            # A server that once lost rows has fewer lines; the summary may be too large to be sent.
            held = max(int(shown.historyLineCount or 0), int(shown.summary.get("_step", -1)) + 1)
            lacking = confirmation.lacking(shown, self._owed.get(info.uid, ()))
            if (held >= rows and not lacking) or time.monotonic() > until:
                break
            time.sleep(0.5)
        if held < rows:
            raise WriteAgain(f"W&B has {held} of {rows} rows of run {info.label}")
        for owed in lacking:
            owed.is_lacking = True
            if owed.sent_again:
                self._turned_down.append((owed.event, f"W&B's server does not take it: {owed.what}"))
        self._owed[info.uid] = [owed for owed in lacking if not owed.sent_again]

    def _check_there(self, known: _WandbRun) -> None:
        """Raise WriteAgain where the server has no such run or denies the key: the service tries for ever."""
        if _is_online(known.info):
            try:
                self.access.shown(_path(known.run), known.info)
            except WriteAgain:
                raise
            except RetryLater as error:
                logger.debug("%s", error)  # the finish is waited for, and says so

    def _got(self, info: RunInfo) -> _WandbRun:
        known = self._open.get(info.uid)
        if known is not None and known.ending is None:
            return known
        self._check_time()
        self.finish(info)
        try:
            run = self.access.open(info)
        except HoldRun:
            raise
        except Exception:
            self.settle()  # or its service would keep the run, and say it is in use
            raise
        run.define_metric(STEP, hidden=True)
        run.define_metric("*", step_metric=STEP)
        info.link = run.url or f"{self.access.folder(info)}/wandb run {info.uid}; `wandb sync` sends it"
        self._open[info.uid] = opened = _WandbRun(run, info, held=run.starting_step)
        return opened


def _services() -> list[psutil.Process]:
    """Return this process's own services of W&B."""
    return [child for child in psutil.Process().children() if child.name().startswith("wandb-core")]


def _suspended() -> bool:
    """Return whether a service stands still, which no server's return would change."""
    with contextlib.suppress(psutil.Error):
        return any(service.status() == psutil.STATUS_STOPPED for service in _services())
    return False


def _path(run: wandb.Run) -> str:
    return f"{run.entity}/{run.project}/{run.id}"


def _is_online(info: RunInfo) -> bool:
    return (info.link or "").startswith("http")
