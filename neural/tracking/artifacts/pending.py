"""What a tracker logged as artifacts and the collector has not stored yet, as far as it knows."""

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

# How long reading a version waits: a collector that answers will store it, another may only be starting.
ANSWERS_S, STARTS_S, NOBODY_S, FAR_S = 60.0, 5.0, 0.2, 20.0
LOOK_EVERY_S = 0.02


class PendingArtifacts:
    """The artifact calls of one tracker, followed until something has become of each.

    Args:
        folder: the run's.
        state: tells how delivery stands.
        leaves_from: where the snapshots of this session wait for a collector on another host, whose run
            folder may not be seen here; one that is gone from there is on that collector's disk.
    """

    def __init__(
        self, folder: Path, state: Callable[[], str], *, offline: bool, leaves_from: Path | None = None
    ) -> None:
        self._leaves_from = leaves_from
        self.pid = os.getpid()  # a forked child has nothing to do with what its parent waits for
        self._folder, self._state, self._offline = folder, state, offline
        self._waiting: list[ArtifactVersion] = []
        self._watch: OutcomeWatch | None = None
        self._lost: list[ArtifactVersion] = []

    @property
    def is_far(self) -> bool:
        """Whether a collector on another host stores what is logged here."""
        return self._leaves_from is not None

    def add(self, version: ArtifactVersion) -> None:
        """Follow one more call; one that was lost at once was told at once."""
        if version.lost is None:
            self._waiting.append(version)

    def outcome(self, token: str) -> Outcome | None:
        """Return what became of a call, None while nobody knows."""
        if self._leaves_from is not None and (told := spool.read_outcome(self._leaves_from / token)):
            from neural.tracking.reader.artifact_outcomes import Outcome

            return Outcome(self._leaves_from.name, told["seq"], told)
        if self._watch is None:
            from neural.tracking.reader.artifact_outcomes import OutcomeWatch

            self._watch = OutcomeWatch(self._folder)
        try:
            return self._watch.look(token)
        except OSError:  # a run folder that cannot be read just now must not end the training that asks
            return None

    def patience_s(self) -> float:
        """Return how long it is worth waiting for the collector now."""
        state = self._state()
        if self._leaves_from is not None:
            return FAR_S if self._state() == "connected" else NOBODY_S
        if self._offline and state != "connected":
            return NOBODY_S
        return ANSWERS_S if state in ("connected", "closed") else STARTS_S

    def settle(self, timeout_s: float) -> bool:
        """Wait until something has become of every call; return whether it has."""
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
            time.sleep(LOOK_EVERY_S)
        return True

    def take_lost(self) -> list[ArtifactVersion]:
        """Return what the collector could not store and was not asked for before."""
        lost, self._lost = self._lost, []
        return lost
