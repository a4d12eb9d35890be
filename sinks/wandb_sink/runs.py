"""The W&B runs of one worker: opens them, finishes them, and checks at the server what arrived.

W&B's own service sends in the background, and retries while the server is away. ``run.finish()`` waits for it
without limit. Here a call waits for a limited time and a later call continues to wait, so that an outage or a
large artifact may take any time. A finish also succeeds if the service gave up, for example because the
server rejected the credentials. So the data of a run counts as delivered only once the server shows it.
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
from neural.tracking.sinks.wandb_sink.confirmation import Unconfirmed
from neural.tracking.sinks.wandb_sink.connection import Access, retry_error

if TYPE_CHECKING:
    import wandb

logger = logging.getLogger(__name__)

STEP = "step"


@dataclass(eq=False)
class _WandbRun:
    """An open run; ``finish`` is its finish under way, ``server_rows`` the rows that the server had before."""

    run: wandb.Run
    info: RunInfo
    server_rows: int
    finish: futures.Future[None] | None = None
    finish_start_s: float = 0.0


class OpenRuns:
    """Opens a run when an event needs it, finishes it, and remembers what the server has not shown yet.

    Any method that opens a run raises HoldRun or RetryLater. A call into the sink blocks for about a quarter of
    the sink's ``call_timeout_s``, once for an opening, once for a finish and once for the server's answer.
    """

    def __init__(self, place: SinkPlace, options: Mapping[str, str]) -> None:
        self._open: dict[str, _WandbRun] = {}
        self._finisher = futures.ThreadPoolExecutor(1, "finish")  # one run after the other
        self._unchecked: dict[str, tuple[str, RunInfo]] = {}  # finished runs, with their paths at the server
        self._unconfirmed: dict[str, list[Unconfirmed]] = {}
        self._refused: list[tuple[RunEvent, str]] = []
        # One call may open a run, wait for another's finish, and wait for the server's answer.
        self._patience_s = place.call_timeout_s / 4
        self.access = Access(place, options, self._patience_s)
        self._call_start_s = 0.0

    def start_call(self) -> None:
        """Start to count the time of a call into the sink. Never blocks."""
        self._call_start_s = time.monotonic()

    def get(self, info: RunInfo) -> wandb.Run:
        """Return W&B's run; open or resume it if it is not open."""
        return self._ensure_open(info).run

    def log_image(self, event: RunEvent, key: str, rest: dict[str, Any]) -> None:
        """Log a row with an image. The file is sent even if the server has the row from before a crash."""
        row = int(event.run.memory.get("rows", 0))
        made, unconfirmed = confirmation.image(event, self.get(event.run), key, row)
        self.expect(unconfirmed)
        self.log(event.run, {key: made, **rest})

    def expect(self, change: Unconfirmed | None) -> None:
        """Remember a change that the server should show; offline there is no server to check."""
        if change is not None and _is_online(change.event.run):
            self._unconfirmed.setdefault(change.event.run.uid, []).append(change)

    def log(self, info: RunInfo, values: dict[str, Any]) -> None:
        """Log the run's next row, unless the server has it from before a crash."""
        known, row = self._ensure_open(info), int(info.memory.get("rows", 0))
        if row >= known.server_rows:
            known.run.log(values, step=row)
        info.memory["rows"] = row + 1

    def is_finishing(self, info: RunInfo) -> bool:
        """Return whether a finish of the run has started and is not complete."""
        known = self._open.get(info.uid)
        return known is not None and known.finish is not None

    def finish(self, info: RunInfo) -> None:
        """Finish the run and wait for that; does nothing for a run that is not open.

        Raises:
            RetryLater: it takes longer than a call may wait; it continues, and the next call waits again.
            WriteAgain: the server does not have the run any more, or rejects the key.
        """
        known = self._open.get(info.uid)
        if known is None:
            return
        if known.finish is None:
            known.finish_start_s = time.monotonic()
            known.finish = self._finisher.submit(known.run.finish, int(info.memory.get("exit_code", 0)))
        if not futures.wait([known.finish], self._patience_s).done:
            if _suspended():
                raise RuntimeError("W&B's service is suspended")  # a new process starts a new service
            self._check_exists(known)
            waited_s = time.monotonic() - known.finish_start_s
            state = f"for {waited_s:.0f} s: its server is away or slow"
            raise RetryLater(f"W&B has not taken all of run {info.label} yet, {state}")
        known.finish.result()
        del self._open[info.uid]
        if _is_online(info):
            self._unchecked[info.uid] = (_path(known.run), info)

    def upload(self, info: RunInfo, made: wandb.Artifact, aliases: list[str]) -> bool:
        """Hand an artifact to W&B's service; return whether to wait for it, which is False offline."""
        self._ensure_open(info).run.log_artifact(made, aliases=aliases)
        return _is_online(info)

    def await_upload(self, made: wandb.Artifact) -> None:
        """Return once the server has the artifact.

        Raises:
            StillUploadingError: the upload takes longer than a call may wait; it continues.
            RetryLater: the upload failed, and may be tried again.
            RefusedForGood: the server refuses the artifact.
        """
        from wandb.sdk.artifacts.exceptions import WaitTimeoutError
        from wandb.sdk.lib.service.service_connection import WandbApiFailedError

        try:
            made.wait(timeout=max(1, int(self._patience_s)))
        except WaitTimeoutError as error:
            raise StillUploadingError(f"W&B has not taken all of {made.name} yet") from error
        except WandbApiFailedError as error:
            raise StillUploadingError(str(retry_error(error, f" to check {made.name}"))) from error
        except ValueError as error:  # W&B's service reports a failed upload so
            failure = retry_error(error)
            if failure.after_s:
                raise failure from error
            raise RefusedForGood(f"W&B does not take {made.name}: {error}") from error

    def finish_all(self) -> None:
        """Finish every run, check what the server has of each, and stop W&B's service.

        Raises:
            RetryLater: a part is not complete in the time of one call; the next call continues.
            WriteAgain: the server lacks rows or a run, or rejects the key.
        """
        import wandb

        self._send_again()
        for known in list(self._open.values()):
            self._check_time()
            self.finish(known.info)
        for uid, (path, info) in list(self._unchecked.items()):
            self._check_time()
            self._confirm(path, info)
            del self._unchecked[uid]
        if any(self._unconfirmed.values()):
            names = sorted({change.what for changes in self._unconfirmed.values() for change in changes})
            raise RetryLater(f"W&B did not take {', '.join(names)[:300]}: sent once more", after_s=0.0)
        wandb.teardown()

    def take_refused(self) -> list[tuple[RunEvent, str]]:
        """Return the events that the server refused since the last call, each with the reason."""
        refused, self._refused = self._refused, []
        return refused

    def abandon(self) -> None:
        """Kill W&B's service without waiting; what it has not sent will be written again."""
        self._open.clear()
        self._unchecked.clear()
        self._unconfirmed.clear()
        with contextlib.suppress(psutil.Error):
            for service in _services():
                service.kill()

    def _check_time(self) -> None:
        """Raise RetryLater if this call has lasted too long already; the next call continues."""
        if time.monotonic() - self._call_start_s > self._patience_s:
            raise RetryLater("one call cannot open and finish that many runs; the next continues", after_s=0.0)

    def _send_again(self) -> None:
        """Send again what the server did not show: the upload address may have expired."""
        changes = [each for of_run in self._unconfirmed.values() for each in of_run if each.is_missing]
        for change in changes:
            self._check_time()
            try:
                change.send(self.get(change.event.run))
            except HoldRun as error:
                raise WriteAgain(str(error)) from error
            except FileNotFoundError:
                pass  # it remains missing, and is then refused
            change.is_missing, change.sent_again = False, True

    def _confirm(self, path: str, info: RunInfo) -> None:
        """Wait until the server shows every row and change of the run; note the changes that are missing."""
        rows, until = int(info.memory.get("rows", 0)), time.monotonic() + self._patience_s
        while True:
            shown = self.access.fetch(path, info)
            # A server that once lost rows counts fewer lines; a summary may be too large to be sent.
            server_rows = max(int(shown.historyLineCount or 0), int(shown.summary.get("_step", -1)) + 1)
            missing = confirmation.missing(shown, self._unconfirmed.get(info.uid, ()))
            if (server_rows >= rows and not missing) or time.monotonic() > until:
                break
            time.sleep(0.5)
        if server_rows < rows:
            raise WriteAgain(f"W&B has {server_rows} of {rows} rows of run {info.label}")
        for change in missing:
            change.is_missing = True
            if change.sent_again:
                self._refused.append((change.event, f"W&B's server does not take it: {change.what}"))
        self._unconfirmed[info.uid] = [change for change in missing if not change.sent_again]

    def _check_exists(self, known: _WandbRun) -> None:
        """Raise WriteAgain if the server lacks the run or rejects the key; W&B's service never reports this."""
        if _is_online(known.info):
            try:
                self.access.fetch(_path(known.run), known.info)
            except WriteAgain:
                raise
            except RetryLater as error:
                logger.debug("%s", error)  # the caller reports that the finish takes long

    def _ensure_open(self, info: RunInfo) -> _WandbRun:
        known = self._open.get(info.uid)
        if known is not None and known.finish is None:
            return known
        self._check_time()
        self.finish(info)
        try:
            run = self.access.open(info)
        except HoldRun:
            raise
        except Exception:
            self.finish_all()  # otherwise W&B's service keeps the run and reports it as in use
            raise
        run.define_metric(STEP, hidden=True)
        run.define_metric("*", step_metric=STEP)
        info.link = run.url or f"{self.access.folder(info)}/wandb run {info.uid}; `wandb sync` sends it"
        self._open[info.uid] = opened = _WandbRun(run, info, server_rows=run.starting_step)
        return opened


def _services() -> list[psutil.Process]:
    """Return W&B's services that this process started."""
    return [child for child in psutil.Process().children() if child.name().startswith("wandb-core")]


def _suspended() -> bool:
    """Return whether a service is suspended: it then waits even if the server is back."""
    with contextlib.suppress(psutil.Error):
        return any(service.status() == psutil.STATUS_STOPPED for service in _services())
    return False


def _path(run: wandb.Run) -> str:
    return f"{run.entity}/{run.project}/{run.id}"


def _is_online(info: RunInfo) -> bool:
    return (info.link or "").startswith("http")
