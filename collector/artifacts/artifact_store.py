"""Does the jobs that the store makes of artifact events: a part of the daemon.

Hashing and copying run in threads of their own, so no acknowledgement waits for them. For one name of one run,
one job runs at a time, in the order of the calls; jobs of different names run in parallel. A job whose bytes
have not arrived yet (from another host) delays only later jobs of the same session and name.
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
from neural.tracking.collector.artifacts.retries import Key, Retries
from neural.tracking.collector.artifacts.run_folders import RunFolders, Unusable
from neural.tracking.collector.artifacts.version_numbers import VersionNumbers
from neural.tracking.collector.ingest.sequencer import Sequencer
from neural.tracking.collector.log.sessions import VIA, Position, Sessions
from neural.tracking.core.copying import Stopped
from neural.tracking.core.files import inside, is_there
from neural.tracking.errors import FormatError, TrackingError
from neural.tracking.formats import artifact_event
from neural.tracking.reader.run import Run
from neural.tracking.state import artifact_jobs, spool
from neural.tracking.state.artifact_jobs import ArtifactJob
from neural.tracking.state.paths import State
from neural.tracking.state.tombstones import Tombstones

logger = logging.getLogger(__name__)

MAX_PARALLEL = 2
MAX_OUTCOMES = 10_000  # kept for trainings on other hosts that ask for them
SCAN_EVERY_S, MIN_PAUSE_S = 1.0, 0.04
CLEANUP_EVERY_S = 5.0
THREAD_GRACE_S = 2.0  # the time at the end of a drain in which threads end their step


class ArtifactStore:
    """Stores artifacts. Call :meth:`wake` when bytes arrived or a job was made. Runs on the event loop."""

    name = "artifacts"

    def __init__(
        self, state: State, sequencer: Sequencer, sessions: Sessions, applied: Callable[[], Position]
    ) -> None:
        self.stored_total = self.lost_total = 0
        self._folders = RunFolders(state)
        self._state, self._sequencer, self._sessions, self._applied = state, sequencer, sessions, applied
        self._numbers = VersionNumbers()
        self._jobs: dict[Key, ArtifactJob] = {}
        self._unreadable: dict[Key, str] = {}  # jobs that could not be read, and why
        self._started: set[Key] = set()  # perhaps by an earlier process: a version may be on disk
        self._unchecked: set[Key] = set()  # jobs for which an earlier process may have written the note
        self._done: set[Key] = set()  # jobs that this process did: a restarted store makes them again
        self._applied_goal: Position | None = None  # before it, notes of earlier processes may be missing
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._retries = Retries()
        self._ready = False  # a job could run if others did not run before it
        self._order: list[Key] | None = None  # the jobs in the order of their calls; None: sort them again
        self._cleaned_s = 0.0
        self._remote_outcomes: dict[tuple[str, str], dict[str, Any]] = {}  # by session and token
        self._wake = asyncio.Event()
        self._stop = False
        self._pool = ThreadPoolExecutor(MAX_PARALLEL, thread_name_prefix="artifacts")
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to look for jobs. Waits for the disk; raises OSError."""
        await asyncio.to_thread(self._folders.base_dir.learn, record=True)
        self._started = set(await asyncio.to_thread(artifact_jobs.waiting, self._state))
        await asyncio.to_thread(spool_cleanup.remove_temporaries, self._state)
        self._applied_goal = self._sequencer.durable
        self._task = asyncio.create_task(self._scan_forever(), name="artifacts")

    async def drain(self, deadline: float) -> int:
        """Do the jobs that are ready while there is time; the next process finds the rest again."""
        if self._task is None:
            return 0
        while (self._running or self._ready) and time.monotonic() < deadline - THREAD_GRACE_S:
            await asyncio.sleep(0.02)
        self._stop = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._running:
            await asyncio.wait(self._running.values(), timeout=max(0.0, deadline - time.monotonic()))
        self._task = None
        self._pool.shutdown(wait=False, cancel_futures=True)
        return 0

    def wake(self) -> None:
        """Look for jobs at once: there may be a new job, or a job's bytes have arrived. Never blocks."""
        self._wake.set()

    def awaited_job(self, session: str, token: str) -> ArtifactJob | None:
        """Return the job that waits for bytes of another host under this token, or None. Never blocks."""
        remote = (job for job in self._jobs.values() if VIA in job.info and job.lost is None)
        return next((job for job in remote if (job.session, job.token) == (session, token)), None)

    def outcome(self, session: str, token: str) -> dict[str, Any]:
        """Return the latest outcome of an artifact of another host; empty if it is unknown. Never blocks."""
        return self._remote_outcomes.get((session, token), {})

    def is_settled(self, session: str) -> bool:
        """Return whether every artifact of a session that ended has its job, or had it. Blocks briefly."""
        settled = spool_cleanup.is_settled(self._state, self._sessions, session, self._applied())
        settled = settled and all(session != bad for bad, _ in self._unreadable)
        return settled and not spool_cleanup.has_unread_job(
            self._state, session, self._jobs.keys() | self._done
        )

    def is_busy(self) -> bool:
        """Return whether a job runs, could run, or waits for a failure to pass. Never blocks."""
        retried = self._retries.keys() & self._jobs.keys()
        return bool(self._running or self._ready or retried or self._folders.any_held())

    def status(self) -> dict[str, Any]:
        """Return the state of all jobs for ``ntrack status``. Never blocks."""
        return {
            "waiting": len(self._jobs),
            "stored_total": self.stored_total,
            "lost_total": self.lost_total,
            "last_error": self._retries.last_error,
            "held": self._folders.status(),
            "damaged": list(self._unreadable.values()),
        }

    async def prune(self, run: Run, wanted: set[Key], *, timeout_s: float) -> dict[str, Any]:
        """Remove versions of a run, then unreferenced blobs; return what was freed. Waits for the disk.

        The notes come first: until the run folder has them, a missing version would be damage. What the log
        brings goes to the run's own folder, so the notes of a copy are written into the copy.

        Raises:
            ValueError: one of them is no version, or is its name's newest version.
            TimeoutError: the store did not apply the notes within ``timeout_s`` seconds; nothing was removed.
        """
        chosen = await asyncio.to_thread(pruning.select_versions, run.folder, wanted)
        if run.is_home:
            tombstones = Tombstones(self._state.tombstones)
            await pruning.record_pruned(self._sequencer, tombstones, run, chosen, self._applied, timeout_s)
        else:
            await asyncio.to_thread(pruning.record_in_copy, run.folder, chosen)
        removed = await asyncio.to_thread(pruning.remove_versions, run.folder, chosen)
        return {"versions": removed, **await self.sweep()}

    async def sweep(self) -> dict[str, Any]:
        """Remove the blobs that no run refers to. Waits for the disk."""
        swept = await asyncio.to_thread(sweep, self._state.blobs)
        return {"blobs": swept.blobs, "bytes": swept.size_bytes}

    async def _scan_forever(self) -> None:
        while True:
            try:
                await self._scan()
            except OSError as error:
                logger.warning("artifact jobs could not be listed: %s", error)
            await asyncio.sleep(MIN_PAUSE_S)
            try:
                await asyncio.wait_for(self._wake.wait(), SCAN_EVERY_S)
            except TimeoutError:
                continue
            self._wake.clear()

    async def _scan(self) -> None:
        finished: list[Path] = []
        if time.monotonic() - self._cleaned_s > CLEANUP_EVERY_S:
            self._cleaned_s = time.monotonic()
            try:
                finished = await asyncio.to_thread(
                    spool_cleanup.finished_folders, self._state, self._sessions, self._applied()
                )
            except OSError as error:  # nothing is removed now
                logger.warning("the spool could not be listed: %s", error)
        await self._read_new_jobs()  # after the listing: then every event has its job here
        if finished:
            tokens = {job.token for job in self._jobs.values()}
            unread = {session for session, _ in self._unreadable}  # their jobs cannot be read
            await asyncio.to_thread(
                spool_cleanup.remove_unreferenced, [one for one in finished if one.name not in unread], tokens
            )
        if self._unchecked and self._applied_goal is not None and self._applied() >= self._applied_goal:
            await self._finish_noted()
        self._folders.keep_only(self._jobs.values())
        self._start_ready_jobs()

    async def _read_new_jobs(self) -> None:
        """Read the jobs that are new, all before any is started: their order counts."""
        waiting = await asyncio.to_thread(artifact_jobs.waiting, self._state)
        new: dict[Key, ArtifactJob] = {}
        for key in self._unreadable.keys() - set(waiting):
            del self._unreadable[key]
            self._retries.discard(key)
        for key in waiting:
            if key in self._jobs or self._retries.is_pausing(key):
                continue
            try:
                job = await asyncio.to_thread(artifact_jobs.read, self._state, *key)
            except (OSError, FormatError) as error:
                if self._unreadable.get(key) != str(error):
                    logger.error("artifact job cannot be read, its bytes are kept: %s", error)
                self._unreadable[key] = str(error)
                self._retry_later(key, str(error))
                continue
            if self._unreadable.pop(key, None) is not None:
                self._retries.discard(key)
            if job is not None and key in self._done:
                await asyncio.to_thread(self._forget, job)
            elif job is not None:
                new[key] = job
        if new:
            self._jobs |= new
            self._unchecked |= new.keys()
            self._order = None

    async def _finish_noted(self) -> None:
        """Forget jobs whose note an earlier process wrote and whose bytes it removed already.

        It left the job itself, or a restarted store has just made the job again. A job whose run folder cannot
        be read stays unchecked until it can.
        """
        for key in list(self._unchecked):
            job = self._jobs.get(key)
            if job is not None and self._folders.is_held(job.uid):
                continue
            if job is not None and not self._is_ready(job, key):
                try:
                    noted = await asyncio.to_thread(self._folders.was_noted, job)
                except Unusable:
                    continue
                except (OSError, TrackingError) as error:
                    self._folders.hold(job, error)
                    continue
                if noted:
                    await asyncio.to_thread(self._forget, job)
                    self._done.add(key)
                    self._jobs.pop(key, None)
                    self._retries.discard(key)
                    self._order = None
            self._unchecked.discard(key)

    def _start_ready_jobs(self) -> None:
        """Start the jobs that can run now, the oldest call first."""
        if self._order is None:
            self._order = sorted(self._jobs, key=lambda key: self._jobs[key].order)
        busy = {self._jobs[key].key for key in self._running}
        behind: set[tuple[bytes, str, str]] = set()
        self._ready = False
        for key in self._order:
            job = self._jobs.get(key)
            if job is None or key in self._running:
                continue
            if job.key in busy:
                self._ready = True  # it can run as soon as the one before it is done
                continue
            place = (*job.key, job.session)
            if place in behind or not self._is_ready(job, key):
                behind.add(place)
                continue
            if self._stop or len(self._running) >= MAX_PARALLEL:
                self._ready = True
                return
            busy.add(job.key)
            self._running[key] = asyncio.create_task(self._run_job(key, job), name=f"artifact {job.name}")

    def _is_ready(self, job: ArtifactJob, key: Key) -> bool:
        if self._folders.is_held(job.uid) or self._retries.is_pausing(key):
            return False
        if self._applied_goal is None or self._applied() < self._applied_goal:
            return False
        try:
            if job.lost is not None or self._folders.is_local(job) or is_there(job.spooled(self._state)):
                return True
            return self._folders.is_deleted(job)
        except OSError as error:
            self._retry_later(key, f"{job.name} of {job.folder}: {error}")
            return False

    async def _run_job(self, key: Key, job: ArtifactJob) -> None:
        """Do one job to its end: store the bytes, write the note, and then clean the spool."""
        try:
            outcome = await asyncio.get_running_loop().run_in_executor(self._pool, self._store, key, job)
            if outcome is not None:
                session = bytes.fromhex(job.session)
                await self._sequencer.late_note(
                    session, job.uid, job.info, artifact_event.KIND, str(job.seq), **outcome
                )
            if outcome is not None and VIA in job.info:
                self._remote_outcomes[job.session, job.token] = {"seq": job.seq, **outcome}
                while len(self._remote_outcomes) > MAX_OUTCOMES:
                    del self._remote_outcomes[next(iter(self._remote_outcomes))]
            await asyncio.to_thread(self._forget, job, outcome)
            self._done.add(key)
            self._jobs.pop(key, None)
            self._started.discard(key)
            self._retries.discard(key)
        except (Stopped, Unusable):
            return
        except (OSError, TrackingError) as error:
            self._retry_later(key, f"{job.name} of {job.folder}: {error}")
        finally:
            del self._running[key]
            self._start_ready_jobs()

    def _retry_later(self, key: Key, error: str) -> None:
        """Try a job again later, with exponential backoff."""
        pause_s = self._retries.add(key, error)
        if key not in self._unreadable:
            logger.error("artifact %s, tried again in %.0f s", error, pause_s)

    def _store(self, key: Key, job: ArtifactJob) -> dict[str, Any] | None:
        """Return what the note says; None if the run was deleted, or the note is there already."""
        if self._folders.is_deleted(job):
            return None
        outcome: dict[str, Any] = {"name": job.name, "token": job.token}
        try:
            run = self._folders.find(job)
            if self._folders.is_noted(run, job):
                return None
            again = key in self._started
            self._started.add(key)  # from now on there may be a version on disk without a note
            local = self._folders.is_local(job)
            commit = Commit(
                self._state, run, job, self._numbers, self._raise_if_stopped, again=again, local=local
            )
            outcome |= commit.store()
        except BytesLost as error:
            self._folders.base_dir.check()  # otherwise a disk that is not mounted would make artifacts lost
            self.lost_total += 1
            logger.error("artifact %s of %s is lost: %s", job.name, job.folder, error)
            return {**outcome, "version": None, "lost": str(error)}
        self.stored_total += 1
        return outcome

    def _raise_if_stopped(self, count: int) -> None:
        if self._stop:
            raise Stopped

    def _forget(self, job: ArtifactJob, outcome: dict[str, Any] | None = None) -> None:
        if outcome is not None and isinstance(outcome["version"], int):
            run = inside(self._state.base_dir, job.folder)
            self._numbers.mark_noted(run, job.name, outcome["version"])
        spool.remove(job.spooled(self._state))
        artifact_jobs.remove(self._state, job)
