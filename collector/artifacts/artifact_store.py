"""Does the jobs that the store writer makes of artifact events: a part of the daemon.

Hashing and copying run in threads of their own, so no acknowledgement waits for them. Of one name in one
run only one job is done at a time, in the order of the calls; of different names a few. A job whose bytes
have not come yet (from another host) holds up only later ones of the same session and name.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from neural.tracking.artifacts.sweep import sweep
from neural.tracking.collector.artifacts import pruning, spool_cleanup
from neural.tracking.collector.artifacts.commit import BytesLost, Commit
from neural.tracking.collector.artifacts.run_folders import FIRST_RETRY_S, LONGEST_RETRY_S, RunFolders, Unusable
from neural.tracking.collector.artifacts.version_numbers import VersionNumbers
from neural.tracking.collector.ingest.sequencer import Sequencer
from neural.tracking.collector.log.sessions import VIA, Position, Sessions
from neural.tracking.core.copying import Stopped
from neural.tracking.core.files import inside, is_there
from neural.tracking.errors import FormatError, TrackingError
from neural.tracking.reader.artifact_outcomes import OutcomeWatch
from neural.tracking.reader.run import Run
from neural.tracking.state import artifact_jobs, spool
from neural.tracking.state.artifact_jobs import ArtifactJob
from neural.tracking.state.paths import State
from neural.tracking.state.tombstones import Tombstones

logger = logging.getLogger(__name__)

AT_ONCE = 2
MAX_OUTCOMES = 10_000  # kept for those on other hosts who wait to hear of them
LOOK_EVERY_S, LEAST_PAUSE_S = 1.0, 0.04
TIDY_EVERY_S = 5.0
MAX_RUNS = 200  # of which is remembered what their notes say
STOPPING_S = 2.0  # of a drain's time, kept for what a thread has in hand

Key = tuple[str, int]  # session and number


class ArtifactStore:
    """Keeps the artifacts; whoever brought bytes, or made a job, calls :meth:`wake`."""

    name = "artifacts"

    def __init__(
        self, state: State, sequencer: Sequencer, sessions: Sessions, applied: Callable[[], Position]
    ) -> None:
        self.stored_total = self.lost_total = 0
        self._folders = RunFolders(state)
        self._state, self._sequencer, self._sessions, self._applied = state, sequencer, sessions, applied
        self._numbers = VersionNumbers()
        self._jobs: dict[Key, ArtifactJob] = {}
        self._bad: dict[Key, str] = {}  # jobs that could not be read, and why
        self._begun: set[Key] = set()  # in this life or before, perhaps up to a version on disk
        self._unchecked: set[Key] = set()  # a life before may have written their note already
        self._done: set[Key] = set()  # in this life: a store writer that begins anew makes their jobs again
        self._goal: Position | None = None  # until this is applied, notes of lives before may be missing
        self._outcomes: dict[Path, OutcomeWatch] = {}
        self._doing: dict[Key, asyncio.Task[None]] = {}
        self._retries: dict[Key, tuple[float, float, str]] = {}  # when again, how long after that, and why
        self._ready = False  # something waits only for its turn
        self._order: list[Key] | None = None  # of the calls; made anew when there are new jobs
        self._tidied_s = 0.0
        self._told_afar: dict[tuple[str, str], dict[str, Any]] = {}  # of other hosts, by session and token
        self._wake = asyncio.Event()
        self._stop = False
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="artifacts")
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look for jobs."""
        await asyncio.to_thread(self._folders.home.learn, record=True)
        self._begun = set(await asyncio.to_thread(artifact_jobs.waiting, self._state))
        await asyncio.to_thread(spool_cleanup.remove_temporaries, self._state)
        self._goal = self._sequencer.durable
        self._task = asyncio.create_task(self._look_forever(), name="artifacts")

    async def drain(self, deadline: float) -> int:
        """Do what is ready while there is time; the rest is found again by the next life."""
        if self._task is None:
            return 0
        while (self._doing or self._ready) and time.monotonic() < deadline - STOPPING_S:
            await asyncio.sleep(0.02)
        self._stop = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._doing:
            await asyncio.wait(self._doing.values(), timeout=max(0.0, deadline - time.monotonic()))
        self._task = None
        self._pool.shutdown(wait=False, cancel_futures=True)
        return 0

    def wake(self) -> None:
        """Look at once: there may be a new job, or the bytes of one have come."""
        self._wake.set()

    def wants(self, session: str, token: str) -> ArtifactJob | None:
        """Return the job whose bytes have to come from another host under this token, None if there is none."""
        for job in self._jobs.values():
            if (job.session, job.token) == (session, token) and VIA in job.info and job.lost is None:
                return job
        return None

    def outcome(self, session: str, token: str) -> dict[str, Any]:
        """Return what became of an artifact of another host lately; empty where that is not known."""
        return self._told_afar.get((session, token), {})

    def is_settled(self, session: str) -> bool:
        """Return whether every artifact of a session that ended has its job, or had it."""
        if any(session == bad for bad, _ in self._bad):  # what its jobs name is not known
            return False
        return spool_cleanup.is_settled(self._state, self._sessions, session, self._applied())

    def busy(self) -> bool:
        """Return whether something is being stored, or could be, or waits for trouble to pass."""
        retried = self._retries.keys() & self._jobs.keys()
        return bool(self._doing or self._ready or retried or self._folders.any_held())

    def status(self) -> dict[str, Any]:
        """Return what ``ntrack status`` tells."""
        return {
            "waiting": len(self._jobs),
            "stored_total": self.stored_total,
            "lost_total": self.lost_total,
            "last_error": next((why for *_, why in reversed(list(self._retries.values()))), None),
            "held": self._folders.status(),
            "damaged": list(self._bad.values()),
        }

    async def prune(self, run: Run, wanted: set[Key], *, timeout_s: float) -> dict[str, Any]:
        """Remove versions from a run's folder, and the blobs that are nobody's then; return what was freed.

        The notes come first: until the run folder has them a missing version would be damage. What the log
        brings goes to the run's own folder, so the notes of a copy are written into the copy.

        Raises:
            ValueError: one of them is no version, or its name's newest.
            TimeoutError: the store did not apply the notes in time; nothing was removed.
        """
        chosen = await asyncio.to_thread(pruning.chosen, run.folder, wanted)
        if run.is_home:
            tombstones = Tombstones(self._state.tombstones)
            await pruning.note(self._sequencer, tombstones, run, chosen, self._applied, timeout_s)
        else:
            await asyncio.to_thread(pruning.note_in_copy, run.folder, chosen)
        removed = await asyncio.to_thread(pruning.remove, run.folder, chosen)
        return {"versions": removed, **await self.sweep()}

    async def sweep(self) -> dict[str, Any]:
        """Remove the blobs that no run refers to."""
        swept = await asyncio.to_thread(sweep, self._state.blobs)
        return {"blobs": swept.blobs, "bytes": swept.size_bytes}

    async def _look_forever(self) -> None:
        while True:
            try:
                await self._look()
            except OSError as error:
                logger.warning("artifact jobs could not be looked at: %s", error)
            await asyncio.sleep(LEAST_PAUSE_S)
            try:
                await asyncio.wait_for(self._wake.wait(), LOOK_EVERY_S)
            except TimeoutError:
                continue
            self._wake.clear()

    async def _look(self) -> None:
        over: list[Path] = []
        if time.monotonic() - self._tidied_s > TIDY_EVERY_S:
            self._tidied_s = time.monotonic()
            try:
                over = await asyncio.to_thread(spool_cleanup.over, self._state, self._sessions, self._applied())
            except OSError as error:  # then nothing is tidied away now
                logger.warning("the spool could not be looked at: %s", error)
        await self._learn()  # after that: then whatever an event named has a job that is known
        if over:
            tokens = {job.token for job in self._jobs.values()}
            unread = {session for session, _ in self._bad}  # what their jobs name is not known
            await asyncio.to_thread(spool_cleanup.tidy, [one for one in over if one.name not in unread], tokens)
        if self._unchecked and self._goal is not None and self._applied() >= self._goal:
            await self._finish_noted()
        self._folders.forget_but(self._jobs.values())
        self._begin()

    async def _learn(self) -> None:
        """Take in the jobs that are new, all at once: what is done meanwhile begins the next of those known."""
        found = await asyncio.to_thread(artifact_jobs.waiting, self._state)
        new: dict[Key, ArtifactJob] = {}
        for key in self._bad.keys() - set(found):
            del self._bad[key]
            self._retries.pop(key, None)
        for key in found:
            if key in self._jobs or time.monotonic() < self._retries.get(key, (0.0, 0.0))[0]:
                continue
            try:
                job = await asyncio.to_thread(artifact_jobs.read, self._state, *key)
            except (OSError, FormatError) as error:
                if self._bad.get(key) != str(error):
                    logger.error("artifact job cannot be read, its bytes are kept: %s", error)
                self._bad[key] = str(error)
                self._put_off(key, str(error))
                continue
            if self._bad.pop(key, None) is not None:
                self._retries.pop(key, None)
            if job is not None and key in self._done:
                await asyncio.to_thread(self._forget, job)
            elif job is not None:
                new[key] = job
        if new:
            self._jobs |= new
            self._unchecked |= new.keys()
            self._order = None

    async def _finish_noted(self) -> None:
        """Forget jobs that a life before had noted and whose bytes it had let go of.

        It left their job, or a store writer that begins anew has just made it again. Those whose run
        cannot be looked at stay unchecked until it can.
        """
        for key in list(self._unchecked):
            job = self._jobs.get(key)
            if job is not None and self._folders.is_held(job.uid):
                continue
            if job is not None and not self._is_ready(job, key):
                try:
                    noted = await asyncio.to_thread(self._was_noted, job)
                except Unusable:
                    continue
                except (OSError, TrackingError) as error:
                    self._folders.hold(job, error)
                    continue
                if noted:
                    await asyncio.to_thread(self._forget, job)
                    self._done.add(key)
                    self._jobs.pop(key, None)
                    self._retries.pop(key, None)
                    self._order = None
            self._unchecked.discard(key)

    def _was_noted(self, job: ArtifactJob) -> bool:
        try:
            return self._is_noted(self._folders.find(job), job)
        except BytesLost:
            return False

    def _begin(self) -> None:
        """Begin what can be done now, the oldest call first."""
        if self._order is None:
            self._order = sorted(self._jobs, key=lambda key: self._jobs[key].order)
        busy = {self._jobs[key].key for key in self._doing}
        behind: set[tuple[bytes, str, str]] = set()
        self._ready = False
        for key in self._order:
            job = self._jobs.get(key)
            if job is None or key in self._doing:
                continue
            if job.key in busy:
                self._ready = True  # as soon as the one before it is done
                continue
            place = (*job.key, job.session)
            if place in behind or not self._is_ready(job, key):
                behind.add(place)
                continue
            if self._stop or len(self._doing) >= AT_ONCE:
                self._ready = True
                return
            busy.add(job.key)
            self._doing[key] = asyncio.create_task(self._do(key, job), name=f"artifact {job.name}")

    def _is_ready(self, job: ArtifactJob, key: Key) -> bool:
        if self._folders.is_held(job.uid) or time.monotonic() < self._retries.get(key, (0.0, 0.0))[0]:
            return False
        if self._goal is None or self._applied() < self._goal:
            return False
        try:
            if job.lost is not None or self._folders.is_local(job) or is_there(job.spooled(self._state)):
                return True
            return self._folders.is_deleted(job)
        except OSError as error:
            self._put_off(key, f"{job.name} of {job.folder}: {error}")
            return False

    async def _do(self, key: Key, job: ArtifactJob) -> None:
        """Bring one job to its end: bytes, note, and then the spool lets go."""
        try:
            told = await asyncio.get_running_loop().run_in_executor(self._pool, self._store, key, job)
            if told is not None:
                session = bytes.fromhex(job.session)
                await self._sequencer.late_note(
                    session, job.uid, job.info, artifact_jobs.KIND, str(job.seq), **told
                )
            if told is not None and VIA in job.info:
                self._told_afar[job.session, job.token] = {"seq": job.seq, **told}
                while len(self._told_afar) > MAX_OUTCOMES:
                    del self._told_afar[next(iter(self._told_afar))]
            await asyncio.to_thread(self._forget, job, told)
            self._done.add(key)
            self._jobs.pop(key, None)
            self._begun.discard(key)
            self._retries.pop(key, None)
        except (Stopped, Unusable):
            return
        except (OSError, TrackingError) as error:
            self._put_off(key, f"{job.name} of {job.folder}: {error}")
        finally:
            del self._doing[key]
            self._begin()

    def _put_off(self, key: Key, why: str) -> None:
        """Try a job again later, each time after a longer pause."""
        pause_s = self._retries.pop(key, (0.0, FIRST_RETRY_S))[1]
        self._retries[key] = time.monotonic() + pause_s, min(LONGEST_RETRY_S, 2 * pause_s), why
        if key not in self._bad:
            logger.error("artifact %s, tried again in %.0f s", why, pause_s)

    def _store(self, key: Key, job: ArtifactJob) -> dict[str, Any] | None:
        """Return what the note says; None where the run was deleted, or the note is there already."""
        if self._folders.is_deleted(job):
            return None
        told: dict[str, Any] = {"name": job.name, "token": job.token}
        try:
            run = self._folders.find(job)
            if self._is_noted(run, job):
                return None
            again = key in self._begun
            self._begun.add(key)  # from now on there may be a version on disk that no note names
            commit = Commit(
                self._state,
                run,
                job,
                self._numbers,
                self._look_up,
                again=again,
                local=self._folders.is_local(job),
            )
            told |= commit.store()
        except BytesLost as error:
            self._folders.home.check()  # else what is gone now may be there again once the disk is
            self.lost_total += 1
            logger.error("artifact %s of %s is lost: %s", job.name, job.folder, error)
            return {**told, "version": None, "lost": str(error)}
        self.stored_total += 1
        return told

    def _is_noted(self, run: Path, job: ArtifactJob) -> bool:
        """Whether the run folder says already what became of it; reads only what is new there."""
        if run not in self._outcomes and len(self._outcomes) >= MAX_RUNS:
            self._outcomes.clear()
        return self._outcomes.setdefault(run, OutcomeWatch(run)).look(job.token) is not None

    def _look_up(self, count: int) -> None:
        if self._stop:
            raise Stopped

    def _forget(self, job: ArtifactJob, told: dict[str, Any] | None = None) -> None:
        if told is not None and isinstance(told["version"], int):
            run = inside(self._state.base_dir, job.folder)
            self._numbers.take(run, job.name, told["version"])
        spool.remove(job.spooled(self._state))
        artifact_jobs.remove(self._state, job)
