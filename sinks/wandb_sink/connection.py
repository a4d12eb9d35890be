"""Opens and reads W&B's runs: with which key, at which server, in which folder; classifies W&B's errors."""

from __future__ import annotations

import functools
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural.tracking.errors import HoldRun, RetryLater, WriteAgain
from neural.tracking.sink_state.config import without_credentials
from neural.tracking.sinks import own_credentials
from neural.tracking.sinks.base import RunInfo, SinkPlace

if TYPE_CHECKING:
    import wandb

LONGEST_OPEN_S = 30.0
MAX_NAME = 128  # of a project and of a run
DENIED_AFTER_S = 60.0
UNLIMITED_TRIES = 1_000_000  # an outage may last long
# Credentials that W&B's package sends to any address beside the key, even if the sink passes a key.
_ALWAYS_SENT = ("WANDB_IDENTITY_TOKEN_FILE", "WANDB_X_EXTRA_HTTP_HEADERS", "WANDB__EXTRA_HTTP_HEADERS")
# Only the texts of the package's errors show what happened.
_DENIED = re.compile(r"\b40[13]\b|api.?key|not logged in", re.IGNORECASE)
_OUTAGE = re.compile(r"timed? ?out|giving up|deadline|connect|dial|EOF|reset|lookup|service", re.IGNORECASE)
_OFFLINE = ("offline", "dryrun", "disabled")


class Access:
    """Opens runs and reads them from the server, with the sink's options and the training's environment.

    A request to the server waits ``patience_s`` seconds at most.
    """

    def __init__(self, place: SinkPlace, options: Mapping[str, str], patience_s: float) -> None:
        self._place = place
        self._options = options
        self._patience_s = patience_s
        self._own_url = options.get("base_url") or ""  # else from W&B's own settings, once it is imported

    def open(self, info: RunInfo) -> wandb.Run:
        """Return the run, new or resumed. Blocks until the server answers, up to 30 s.

        Raises:
            HoldRun: the server does not accept this run, or the run names a server that gets no key of ours.
            RetryLater: the file with the key cannot be used.
        """
        import wandb

        options, folder = self._options, self.folder(info)
        mode: Any = (
            options.get("mode") or info.env.get("WANDB_MODE") or os.environ.get("WANDB_MODE") or "online"
        )
        if mode not in _OFFLINE:
            self._check_key(info)
        Path(folder).mkdir(parents=True, exist_ok=True)
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
        except wandb.errors.CommError as error:
            if is_refusal(str(error)):
                raise HoldRun(info.uid, f"W&B does not take it: {error}") from error
            raise

    def api(self, info: RunInfo) -> wandb.Api:
        """Return W&B's interface for reading from the run's server; raises HoldRun as :meth:`open`."""
        import wandb

        self._check_key(info)
        given = {"base_url": self._base_url(info)}
        return wandb.Api(given, timeout=max(1, int(self._patience_s)), api_key=self._key(info))

    def fetch(self, path: str, info: RunInfo) -> Any:
        """Return the run as the server shows it. ``path`` is its entity, project and id, joined by slashes.

        Raises:
            WriteAgain: the server has no such run any more, or rejects the key.
            RetryLater: the server does not answer.
        """
        import wandb
        from wandb.sdk.lib.service.service_connection import WandbApiFailedError

        try:
            return self.api(info).run(path)
        except (wandb.errors.CommError, WandbApiFailedError) as error:
            if is_gone(error):
                raise WriteAgain(f"W&B has no run {info.label} any more") from error
            failure = retry_error(error, f" to check what it has of run {info.label}")
            if failure.after_s:  # with this key, parameters and the rest may have been rejected, too
                raise WriteAgain(str(failure)) from error
            raise failure from error

    def _settings(self, info: RunInfo) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "console": "off",
            "silent": True,
            "disable_git": True,
            "disable_job_creation": True,
            "save_code": False,
            "x_disable_stats": True,
            "x_disable_meta": True,  # it would describe the worker's machine and command, not the training's
            "x_disable_machine_info": True,
            "x_save_requirements": False,
            # A run that is opened twice within a second would otherwise use one folder, and one file, twice.
            "x_sync_dir_suffix": f"{info.memory.get('rows', 0)}-{os.getpid()}",
            "x_start_time": info.opened_ns / 1e9,
            "init_timeout": min(LONGEST_OPEN_S, self._patience_s),
            "stop_fn": _ignore_stop,
            "x_file_stream_retry_max": UNLIMITED_TRIES,
            "x_file_transfer_retry_max": UNLIMITED_TRIES,
            "x_graphql_retry_max": UNLIMITED_TRIES,
        }
        # Always passed: otherwise W&B's package uses the address of the process's previous run.
        settings["base_url"] = self._base_url(info)
        if key := self._key(info):
            settings["api_key"] = key
        return settings

    def _key(self, info: RunInfo) -> str | None:
        """Return the key for the run's server; None if W&B's package should find it on its own.

        The file with the key is read each time, because its owner may have corrected it.
        """
        if not self._is_own(info):
            url = self._base_url(info)
            known = own_credentials.netrc_of(url) or own_credentials.netrc_of(_normal(url))
            return known[1] if known else None
        file = self._options.get("api_key_file")
        return _secret(Path(file).expanduser()) if file else None

    def _check_key(self, info: RunInfo) -> None:
        """Raise HoldRun if the collector's key would go to a server that only the run names."""
        if self._is_own(info):
            return
        always = [name for name in _ALWAYS_SENT if os.environ.get(name)]
        if always or self._key(info) is None:
            url = without_credentials(self._base_url(info))
            raise HoldRun(
                info.uid,
                f"{url} is named by the run alone, so the collector's key is not sent there: name it in the "
                f"sink's base_url, or in WANDB_BASE_URL where the collector is started, or "
                f"`wandb login --host {url}`",
                after_s=DENIED_AFTER_S,
            )

    def _is_own(self, info: RunInfo) -> bool:
        """Return whether the run's server is the one of the collector's own settings and environment."""
        return own_credentials.same_address(_normal(self._base_url(info)), _normal(self._own()))

    def _base_url(self, info: RunInfo) -> str:
        return self._options.get("base_url") or info.env.get("WANDB_BASE_URL") or self._own()

    def _own(self) -> str:
        """Return the server of the sink's options, else of the environment, else of W&B's own settings."""
        if not self._own_url:
            self._own_url = _own_url()
        return self._own_url

    def folder(self, info: RunInfo) -> str:
        """Return the folder where wandb keeps the run's files."""
        return self._options.get("folder") or info.env.get("WANDB_DIR") or str(self._place.base_dir)


def _own_url() -> str:
    from wandb.sdk import wandb_setup

    return os.environ.get("WANDB_BASE_URL") or str(wandb_setup.singleton().settings.base_url)


@functools.cache
def _normal(url: str) -> str:
    """Return the address in the form that W&B's package uses: W&B's cloud has several addresses."""
    import wandb

    try:
        return str(wandb.Settings(base_url=url).base_url)
    except (ValueError, wandb.errors.Error):  # not an address; opening the run raises the error
        return url


def _ignore_stop() -> None:
    """Do nothing if a user stops the run on W&B's page: W&B would interrupt this worker, not the training."""


def _project(name: str) -> str:
    """Return a project's name with ``-`` for each character that W&B forbids, cut to its maximum length."""
    return "".join("-" if char in "/\\#?%:\r\n" else char for char in name)[:MAX_NAME]


def _secret(path: Path) -> str:
    """Return the text of a file of mode 0600; raises RetryLater if others may read it, or nobody can."""
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise RetryLater(f"{path} may be read by others: chmod 600 it", after_s=DENIED_AFTER_S)
        return path.read_text().strip()
    except OSError as error:
        raise RetryLater(f"cannot read {path}: {error}", after_s=DENIED_AFTER_S) from error


def retry_error(error: Exception, purpose: str = "") -> RetryLater:
    """Return the error to raise when W&B's server did not answer, or rejected the key.

    ``after_s`` is set only for a rejected key. ``purpose`` continues "W&B cannot be reached".
    """
    text = " ".join(str(error).split())
    if _DENIED.search(text):
        return RetryLater(f"W&B rejected the credentials: {text}", after_s=DENIED_AFTER_S)
    return RetryLater(f"W&B cannot be reached{purpose}: {text}")


def is_gone(error: Exception) -> bool:
    """Return whether the error means that the server has no such run."""
    return "could not find run" in str(error).lower()


def is_refusal(text: str) -> bool:
    """Return whether the server refused this one run, for example because it was deleted there."""
    if _DENIED.search(text):
        return False
    code = re.search(r"\b(?:HTTP|error|status:?) (\d{3})\b", text)
    if code is not None:
        return code[1].startswith("4") and code[1] not in ("408", "429")
    return not _OUTAGE.search(text)
