"""Which runs are the sink's, and what of their environment counts; keeps the progress of each in memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neural.tracking.collector.delivery.run_progress import RunProgress
from neural.tracking.collector.log.items import LoggedSession
from neural.tracking.core.files import inside
from neural.tracking.errors import InvalidNameError, RetryLater
from neural.tracking.formats.run_file import folder_name
from neural.tracking.formats.wire import VIA
from neural.tracking.reader.run import Run
from neural.tracking.sink_state import remote_grants
from neural.tracking.sink_state.config import SinkConfig
from neural.tracking.sink_state.progress import Share, SinkFolder
from neural.tracking.sink_state.remote_grants import ClaimedEnv
from neural.tracking.sinks.base import RunInfo
from neural.tracking.state.paths import State
from neural.tracking.state.tombstones import Tombstone, Tombstones

MAX_OPEN_RUNS = 500


class SinkRuns:
    """All runs of one sink that its worker has met, each with its progress."""

    def __init__(self, config: SinkConfig, state: State, folder: SinkFolder) -> None:
        self._config = config
        self._state = state
        self._folder = folder
        self._tombstones = Tombstones(state.tombstones)
        self._open: dict[str, RunProgress | None] = {}  # None: not the sink's

    def of_session(self, session: LoggedSession) -> RunProgress | None:
        """Return the session's run, None where it is not the sink's; raises RetryLater."""
        uid = session.uid.hex()
        if uid not in self._open or (self._open[uid] is None and self._is_named_by(session)):
            stone = self._tombstones.of(session.uid)
            if stone is not None and stone.covers(session.info):
                return None
            self._open[uid] = self._from_session(session, stone)
        run = self._open[uid]
        if run is None or (run.tombstone is not None and run.tombstone.covers(session.info)):
            return None
        if session.session.hex() not in run.share.sessions:
            run.status.describe(session.session.hex(), session.info)
        if run.refusal is not None and session.info.get(VIA) is None:
            # The run's folder was read before. A session of this host may say more than the folder.
            self._grant_env(run, ClaimedEnv(session.info.get("env"), trusted=True))
        return run

    def of_folder(self, found: Run) -> RunProgress:
        """Return the run of a folder, which may lie anywhere; raises RetryLater."""
        uid = found.uid.hex()
        run = self._open.get(uid)
        if run is None:
            claimed = ClaimedEnv(found.settings.get("env"), found.facts.settings_via)
            run = self._make(uid, found.name, found.folder, found.start_ns, claimed)
            run.tombstone = self._tombstones.of(found.uid)
            self._open[uid] = run
        run.info.folder = found.folder
        return run

    def of_dead_letter(self, letter: Mapping[str, Any]) -> RunProgress:
        """Return the run of a dead letter; raises RetryLater."""
        run = self._open.get(letter["run"])
        if run is None:
            run = self._make(letter["run"], letter["name"], Path(letter["folder"]), 0, None)
            self._open[letter["run"]] = run
        return run

    def behind_log(self, uid: str) -> RunProgress | None:
        """Return the run if its folder still has to bring what was passed over; None too if it was removed."""
        run = self._open.get(uid)
        if uid not in self._open and (share := self._folder.share(uid)) is not None:
            run = self._open[uid] = self._make(uid, share.name, Path(share.folder), share.opened_ns, None)
        if run is None or not run.is_behind_log():
            return None
        removed = self._tombstones.of(bytes.fromhex(uid)) is not None and not run.info.folder.is_dir()
        return None if removed else run

    def includes(self, found: Run) -> bool:
        """Return whether a run folder in ``base_dir`` belongs to a run of this sink."""
        via = found.facts.settings_via
        if via is not None and not self._config.configured:
            return False
        if self._folder.share_file(found.uid.hex()).exists():
            return True
        if remote_grants.is_named(self._config, found.settings.get("backend"), via):
            return True
        since_ns = self._in_use_since_ns()
        return self._config.runs == "all" and (found.end_ns is None or found.end_ns >= since_ns)

    def is_first_use(self) -> bool:
        """Return whether this sink is used here for the first time; leaves a file that says it is no more."""
        first = not (self._folder.root / "since").exists()
        if first:
            self._folder.mark("since")
        return first

    def _in_use_since_ns(self) -> int:
        return (self._folder.root / "since").stat().st_mtime_ns

    def forget(self, uid: str) -> None:
        """Drop a run that was removed, with its share, except the memory of the sink itself.

        The backend still has its part of the run. A later run of the same uid goes on after that.
        """
        run = self._open.pop(uid, None)
        share = self._folder.share(uid)
        memory = run.info.memory if run is not None else share.memory if share is not None else {}
        self._folder.remove_share(uid, memory)

    def dirty(self) -> bool:
        """Return whether the share of any run differs from its file."""
        return any(run is not None and run.dirty for run in self._open.values())

    def save(self) -> None:
        """Write the share of every dirty run; raises OSError."""
        for run in self._open.values():
            if run is not None and run.dirty:
                run.share.memory, run.share.link = run.info.memory, run.info.link
                run.share.write(self._folder.share_file(run.info.uid))
                run.dirty = False

    def drop_ended(self) -> None:
        """Drop runs that have ended from memory, once there are many. Nothing of them may be in the queue."""
        if len(self._open) > MAX_OPEN_RUNS:
            self._open = {
                uid: run
                for uid, run in self._open.items()
                if run is not None and (run.dirty or run.share.artifacts or not run.share.ended)
            }

    def _is_named_by(self, session: LoggedSession) -> bool:
        return remote_grants.is_named(self._config, session.info.get("sinks"), session.info.get(VIA))

    def _from_session(self, session: LoggedSession, stone: Tombstone | None) -> RunProgress | None:
        info, uid = session.info, session.uid.hex()
        via = info.get(VIA)
        if via is not None and not self._config.configured:
            return None
        known = self._folder.share_file(uid).exists()
        if not (known or self._config.runs == "all" or self._is_named_by(session)):
            return None
        name = str(info.get("name") or "run")
        opened_ns = info["opened_ns"] if isinstance(info.get("opened_ns"), int) else time.time_ns()
        try:
            folder = inside(self._state.base_dir, str(info.get("dir")))
        except InvalidNameError:
            folder = self._state.base_dir / folder_name("run", session.uid)
        run = self._make(uid, name, folder, opened_ns, ClaimedEnv(info.get("env"), via, trusted=via is None))
        run.tombstone = stone
        return run

    def _make(
        self, uid: str, name: str, folder: Path, opened_ns: int, claimed: ClaimedEnv | None
    ) -> RunProgress:
        share = self._folder.share(uid)
        if share is None:
            memory = self._folder.kept_memory(uid)
            share = Share(uid, name, str(folder), memory=memory, opened_ns=opened_ns)
        info = RunInfo(uid, share.name, folder, share.opened_ns, share.env, share.memory, share.link)
        run = RunProgress(info, share)
        if not (share.env and share.env_vouched):
            claimed = claimed or _claimed_in(folder)
            # A share of an older version does not say who named its environment. For a run of this host the
            # environment in such a share goes on to count.
            if not share.env or claimed.trusted or claimed.via is not None:
                self._grant_env(run, claimed)
        return run

    def _grant_env(self, run: RunProgress, claimed: ClaimedEnv) -> None:
        """Set what counts of the environment that the run names, or why the run must not be delivered."""
        share = run.share
        share.env, run.refusal = remote_grants.granted(self._config, claimed, self._state.base_dir)
        share.env_vouched = claimed.trusted and bool(share.env)
        run.info.env = share.env


def _claimed_in(folder: Path) -> ClaimedEnv:
    """Return what a run's folder says of the run's environment; raises RetryLater."""
    found = Run(folder, "skip")
    try:
        return ClaimedEnv(found.settings.get("env"), found.facts.settings_via)
    except OSError as error:
        raise RetryLater(f"cannot read {folder}: {error}") from error
