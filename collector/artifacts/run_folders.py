"""Finds the folder of a job's run, and decides between the two answers when it cannot be used.

Removed is only what is truly not there: then the artifact is lost, and its note says so. Everything else
passes, a folder that may not be read, a disk that is not mounted, a ``run.json`` that is damaged: then all
jobs of that run wait, one of them looks again now and then, and other runs' jobs go on.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from neural.tracking.collector.artifacts.commit import BytesLost
from neural.tracking.collector.log.sessions import VIA
from neural.tracking.core import os_support
from neural.tracking.core.files import inside
from neural.tracking.errors import FormatError, TrackingError
from neural.tracking.formats.run_file import RUN_FILE, RunFile
from neural.tracking.state.artifact_jobs import ArtifactJob
from neural.tracking.state.base_dir import BaseDir
from neural.tracking.state.paths import State
from neural.tracking.state.tombstones import Tombstones

logger = logging.getLogger(__name__)

FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
_MEND = "put it back from a copy, or `ntrack runs rebuild {}` makes it anew from what is stored"


class Unusable(TrackingError):
    """The folder of a run cannot be used just now; all of the run's jobs wait."""


class _Held(NamedTuple):
    run: str
    error: str
    since_ns: int
    again_s: float
    pause_s: float


class RunFolders:
    """The run folders of one collector's jobs, and which of them cannot be used just now."""

    def __init__(self, state: State) -> None:
        self.home = BaseDir(state)
        self._state = state
        self._held: dict[bytes, _Held] = {}  # by the run's uid

    def find(self, job: ArtifactJob) -> Path:
        """Return the folder of a job's run. Blocks.

        Raises:
            Lost: it was removed.
            Unusable: it is not to be had just now, for whatever reason; the run is held from now on.
        """
        try:
            folder = inside(self._state.base_dir, job.folder)
            found = RunFile.load(folder)
            if found is None and self.home.lacks(job.folder):
                raise BytesLost("the run folder was removed")
        except FormatError as error:
            raise self.hold(job, FormatError(f"{error}; {_MEND.format(job.folder)}")) from error
        except (OSError, TrackingError) as error:
            raise self.hold(job, error) from error
        if found is None:
            text = f"{job.folder} holds no {RUN_FILE}; {_MEND.format(job.folder)}"
            raise self.hold(job, FormatError(text))
        if found.uid != job.uid:
            raise self.hold(job, FormatError(f"{job.folder} holds another run, {found.uid.hex()[:8]}"))
        self.home.prove(folder)
        if self._held.pop(job.uid, None) is not None:
            logger.info("artifacts of %s go on: its folder can be used again", job.folder)
        return folder

    def is_local(self, job: ArtifactJob) -> bool:
        """Whether the snapshot lies in this very spool, if anywhere: nobody will bring it."""
        if VIA in job.info:
            return False  # whatever it says of itself: no path that another host names is opened here
        host, boot = job.info.get("host"), job.info.get("boot_id")
        here = host == platform.node() or bool(boot and boot == os_support.boot_id())
        return here and job.spool == str(self._state.spool)

    def is_deleted(self, job: ArtifactJob) -> bool:
        """Return whether the run was deleted on purpose; raises OSError where nobody can tell. Blocks."""
        return Tombstones(self._state.tombstones).covers(job.uid, job.info)

    def hold(self, job: ArtifactJob, error: Exception) -> Unusable:
        """Let all jobs of the run wait, each time longer; return the error that says so."""
        before, text, now_s = self._held.get(job.uid), str(error), time.monotonic()
        if before is not None and now_s < before.again_s:
            return Unusable(text)  # two of its jobs met the same
        pause_s = FIRST_RETRY_S if before is None else min(LONGEST_RETRY_S, 2 * before.pause_s)
        since_ns = time.time_ns() if before is None else before.since_ns
        self._held[job.uid] = _Held(job.folder, text, since_ns, now_s + pause_s, pause_s)
        if before is None or before.error != text:
            logger.error(
                "artifacts of %s wait, nothing of them is lost: %s; it is tried again by itself",
                job.folder,
                text,
            )
        return Unusable(text)

    def is_held(self, uid: bytes) -> bool:
        """Return whether the run's folder is not to be tried yet."""
        held = self._held.get(uid)
        return held is not None and time.monotonic() < held.again_s

    def forget_but(self, waiting: Iterable[ArtifactJob]) -> None:
        """Forget the trouble of runs that none of these jobs is of."""
        if self._held:
            for uid in self._held.keys() - {job.uid for job in waiting}:
                self._held.pop(uid, None)

    def any_held(self) -> bool:
        """Return whether jobs wait for a folder."""
        return bool(self._held)

    def status(self) -> list[dict[str, Any]]:
        """Return what ``ntrack status`` tells of each run whose artifacts wait for its folder."""
        held = sorted(list(self._held.values()), key=lambda one: one.since_ns)  # threads change it meanwhile
        return [{"run": one.run, "error": one.error, "since_ns": one.since_ns} for one in held]
