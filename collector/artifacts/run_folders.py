"""Finds the folder of a job's run, and decides what happens if the folder cannot be used.

If the folder was removed, the artifact is lost, and its note says so. Every other failure passes: no
permission, a disk that is not mounted, a damaged ``run.json``. Then all jobs of that run wait, one of them
tries again now and then, and jobs of other runs continue.
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
from neural.tracking.reader.artifact_outcomes import OutcomeWatch
from neural.tracking.state.artifact_jobs import ArtifactJob
from neural.tracking.state.base_dir import BaseDir
from neural.tracking.state.paths import State
from neural.tracking.state.tombstones import Tombstones

logger = logging.getLogger(__name__)

FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
MAX_RUNS = 200  # runs whose notes are remembered
_MEND = "put it back from a copy, or `ntrack runs rebuild {}` makes it again from what is stored"


class Unusable(TrackingError):
    """The folder of a run cannot be used now; all jobs of the run wait."""


class _Held(NamedTuple):
    run: str
    error: str
    since_ns: int
    again_s: float
    pause_s: float


class RunFolders:
    """The run folders of one collector's jobs, and which of them cannot be used now."""

    def __init__(self, state: State) -> None:
        self.base_dir = BaseDir(state)
        self._state = state
        self._held: dict[bytes, _Held] = {}  # by uid of the run
        self._outcomes: dict[Path, OutcomeWatch] = {}

    def find(self, job: ArtifactJob) -> Path:
        """Return the folder of a job's run. Blocks on the disk.

        Raises:
            BytesLost: the folder was removed.
            Unusable: the folder cannot be used now; the run's jobs wait from now on.
        """
        try:
            folder = inside(self._state.base_dir, job.folder)
            run_file = RunFile.load(folder)
            if run_file is None and self.base_dir.lacks(job.folder):
                raise BytesLost("the run folder was removed")
        except FormatError as error:
            raise self.hold(job, FormatError(f"{error}; {_MEND.format(job.folder)}")) from error
        except (OSError, TrackingError) as error:
            raise self.hold(job, error) from error
        if run_file is None:
            text = f"{job.folder} holds no {RUN_FILE}; {_MEND.format(job.folder)}"
            raise self.hold(job, FormatError(text))
        if run_file.uid != job.uid:
            raise self.hold(job, FormatError(f"{job.folder} holds another run, {run_file.uid.hex()[:8]}"))
        self.base_dir.prove(folder)
        if self._held.pop(job.uid, None) is not None:
            logger.info("artifacts of %s continue: its folder can be used again", job.folder)
        return folder

    def was_noted(self, job: ArtifactJob) -> bool:
        """Return whether the job is noted; False if its run folder is gone. Blocks; raises as :meth:`find`."""
        try:
            return self.is_noted(self.find(job), job)
        except BytesLost:
            return False

    def is_noted(self, folder: Path, job: ArtifactJob) -> bool:
        """Return whether the run folder holds the job's outcome. Blocks: reads what is new in its files."""
        if folder not in self._outcomes and len(self._outcomes) >= MAX_RUNS:
            self._outcomes.clear()
        return self._outcomes.setdefault(folder, OutcomeWatch(folder)).poll(job.token) is not None

    def is_local(self, job: ArtifactJob) -> bool:
        """Return whether the snapshot, if it exists, is in this very spool: no upload brings it. Never
        blocks.
        """
        if VIA in job.info:
            return False  # its own host name does not count: a path from another host is never opened here
        host, boot = job.info.get("host"), job.info.get("boot_id")
        here = host == platform.node() or bool(boot and boot == os_support.boot_id())
        return here and job.spool == str(self._state.spool)

    def is_deleted(self, job: ArtifactJob) -> bool:
        """Return whether the run was deleted on purpose. Blocks; raises OSError if that cannot be known."""
        return Tombstones(self._state.tombstones).covers(job.uid, job.info)

    def hold(self, job: ArtifactJob, error: Exception) -> Unusable:
        """Let all jobs of the run wait, each time longer; return the error that says so. Never blocks."""
        before, text, now_s = self._held.get(job.uid), str(error), time.monotonic()
        if before is not None and now_s < before.again_s:
            return Unusable(text)  # two of its jobs met the same failure
        pause_s = FIRST_RETRY_S if before is None else min(LONGEST_RETRY_S, 2 * before.pause_s)
        since_ns = time.time_ns() if before is None else before.since_ns
        self._held[job.uid] = _Held(job.folder, text, since_ns, now_s + pause_s, pause_s)
        if before is None or before.error != text:
            logger.error(
                "artifacts of %s wait, none is lost: %s; the collector tries again by itself",
                job.folder,
                text,
            )
        return Unusable(text)

    def is_held(self, uid: bytes) -> bool:
        """Return whether the run's folder should not be tried yet. Never blocks."""
        held = self._held.get(uid)
        return held is not None and time.monotonic() < held.again_s

    def keep_only(self, waiting: Iterable[ArtifactJob]) -> None:
        """Forget the failures of all runs but those of these jobs. Never blocks."""
        if self._held:
            for uid in self._held.keys() - {job.uid for job in waiting}:
                self._held.pop(uid, None)

    def any_held(self) -> bool:
        """Return whether jobs wait for a folder. Never blocks."""
        return bool(self._held)

    def status(self) -> list[dict[str, Any]]:
        """Return the runs whose artifacts wait for their folder, for ``ntrack status``. Never blocks."""
        # threads change the map meanwhile
        held = sorted(list(self._held.values()), key=lambda one: one.since_ns)
        return [{"run": one.run, "error": one.error, "since_ns": one.since_ns} for one in held]
