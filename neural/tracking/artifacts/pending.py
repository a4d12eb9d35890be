"""The artifacts that a tracker logged and that the collector has not stored yet, as far as is known."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from neural.tracking.artifacts.version import ArtifactVersion
from neural.tracking.core.files import is_surely_gone
from neural.tracking.state import spool

if TYPE_CHECKING:
    from neural.tracking.reader.artifact_outcomes import Outcome, OutcomeWatch

# How long reading a version waits: for a connected collector, one that may be starting, none, a remote one.
ANSWERS_S, STARTS_S, UNREACHABLE_S, REMOTE_S = 60.0, 5.0, 0.2, 20.0
POLL_EVERY_S = 0.02


class PendingArtifacts:
    """The artifact calls of one tracker, each followed until its outcome is known. Not thread-safe.

    Args:
        folder: the run folder.
        state: returns the state of delivery (``connected``, ``closed``, …).
        offline: the session is in offline mode.
        leaves_from: the folder in which the session's snapshots wait for a collector on another host, else
            None. That collector's run folder may not be visible here. It has a snapshot on its disk once
            the snapshot is gone from there.
    """

    def __init__(
        self, folder: Path, state: Callable[[], str], *, offline: bool, leaves_from: Path | None = None
    ) -> None:
        self._leaves_from = leaves_from
        self.pid = os.getpid()  # a forked child must not wait for the artifacts of its parent
        self._folder, self._state, self._offline = folder, state, offline
        self._waiting: list[ArtifactVersion] = []
        self._watch: OutcomeWatch | None = None
        self._lost: list[ArtifactVersion] = []

    @property
    def is_remote(self) -> bool:
        """Whether a collector on another host stores what is logged here."""
        return self._leaves_from is not None

    def add(self, version: ArtifactVersion) -> None:
        """Follow one more call; a call that is already lost is ignored, since it was reported at once."""
        if version.lost is None:
            self._waiting.append(version)

    def outcome(self, token: str) -> Outcome | None:
        """Return the outcome of a call; None while it is unknown. Blocks briefly on the disk."""
        if self._leaves_from is not None and (note := spool.read_outcome(self._leaves_from / token)):
            from neural.tracking.reader.artifact_outcomes import Outcome

            return Outcome(self._leaves_from.name, note["seq"], note)
        if self._watch is None:
            from neural.tracking.reader.artifact_outcomes import OutcomeWatch

            self._watch = OutcomeWatch(self._folder)
        try:
            return self._watch.poll(token)
        except OSError:  # a run folder that cannot be read now must not stop the training
            return None

    def max_wait_s(self) -> float:
        """Return how many seconds a read of a version may wait for the collector now. Never blocks."""
        state = self._state()
        if self._leaves_from is not None:
            return REMOTE_S if self._state() == "connected" else UNREACHABLE_S
        if self._offline and state != "connected":
            return UNREACHABLE_S
        return ANSWERS_S if state in ("connected", "closed") else STARTS_S

    def settle(self, timeout_s: float) -> bool:
        """Wait until the outcome of every call is known, ``timeout_s`` seconds at most; return whether it is.

        For a collector on another host: until every snapshot has left this host.
        """
        deadline = time.monotonic() + timeout_s
        for version in list(self._waiting):
            if self._leaves_from is not None:
                if self._wait_until_gone(self._leaves_from / version.token, deadline):
                    self._waiting.remove(version)
            elif version.wait(max(0.0, deadline - time.monotonic())) or version.lost is not None:
                self._waiting.remove(version)
                if version.lost is not None:
                    self._lost.append(version)
        return not self._waiting

    def _wait_until_gone(self, entry: Path, deadline: float) -> bool:
        while not is_surely_gone(entry):
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_EVERY_S)
        return True

    def take_lost(self) -> list[ArtifactVersion]:
        """Return the versions that were lost since the last call of this method."""
        lost, self._lost = self._lost, []
        return lost
