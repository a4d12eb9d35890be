"""``python -m neural.tracking.agent.courier.courier BASE_DIR STATE``: ships artifacts and abandoned outboxes.

Where the collector is on another host nobody there sees a training die. The first session of a host
starts a courier beside it: one a state folder, under a lock. It takes over each outbox whose owner is
gone, ships it under its own session, tells how the process ended, and removes it once all of it is on
the collector's disk. It also sends the artifacts of all of them, so that no training has to. It leaves
when nothing is left; whatever it could not deliver waits for the next
one, and every session, and every ``ntrack`` command that reads, starts one where it is needed.
"""

from __future__ import annotations

import functools
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from neural.tracking.agent.courier.orphan_shipper import ship
from neural.tracking.agent.courier.uploader import Uploader, remove_done, waiting
from neural.tracking.core import os_support
from neural.tracking.core.files import TEMPORARY_PREFIX
from neural.tracking.core.process_end import (
    POWER_LOSS,
    REAPED_WITHIN_S,
    UNKNOWN_DEATH,
    Death,
    ask_kernel,
    open_pidfd,
)
from neural.tracking.errors import FormatError
from neural.tracking.state import outbox_files as outbox_files
from neural.tracking.state.outbox_files import Orphan
from neural.tracking.state.paths import State

logger = logging.getLogger("neural.tracking")

SCAN_EVERY_S = 1.0
IDLE_S = 10.0  # without any outbox: leave
RETRY_S = 30.0  # before an outbox that could not be read is tried again
MAX_AT_ONCE = 8
NICENESS = 5
LOCK_TRIES = 10


class Courier:
    """Looks after the remote outboxes of one state folder."""

    def __init__(self, state: State) -> None:
        self.delivered_total = 0
        self.problems: dict[str, str] = {}  # by outbox: why it is still here
        self._folder = state.remote_outbox
        self._state = state
        self._shipping: dict[str, threading.Thread] = {}
        self._uploading: dict[str, threading.Thread] = {}  # by address
        self._not_before_s: dict[str, float] = {}
        self._watched: dict[str, int] = {}  # descriptors of living owners
        self._stop = threading.Event()

    def run(self, keep_running: Callable[[bool], bool]) -> None:
        """Look again and again, as long as ``keep_running`` says so; it is told whether anything is there."""
        while True:
            present = self.scan()
            if not keep_running(bool(present)):
                break
            self._wait()
        self.stop()

    def stop(self) -> None:
        """End what is being shipped; it goes on from where the collector is."""
        self._stop.set()
        for thread in [*self._shipping.values(), *self._uploading.values()]:
            thread.join(5.0)

    def scan(self) -> list[str]:
        """Take over what has no owner, send artifacts; return the names of all that is there."""
        return [*self._scan_outboxes(), *self._scan_spool()]

    def _scan_spool(self) -> list[str]:
        """Have artifacts sent, also those of trainings that go on; return where they go."""
        self._uploading = {key: thread for key, thread in self._uploading.items() if thread.is_alive()}
        addresses = [*waiting(self._state.remote_spool)]
        remove_done(self._state.remote_spool, self._folder)
        for address in addresses:
            if address not in self._uploading:
                report = functools.partial(self._note, f"artifacts for {address}")
                uploader = Uploader(address, self._state.remote_spool, self._folder, report)
                thread = threading.Thread(target=uploader.run, args=(self._stop,), daemon=True, name="upload")
                self._uploading[address] = thread
                thread.start()
        return addresses

    def _scan_outboxes(self) -> list[str]:
        self._shipping = {key: thread for key, thread in self._shipping.items() if thread.is_alive()}
        try:
            entries = [e for e in os.scandir(self._folder) if e.is_dir(follow_symlinks=False)]
        except OSError:
            return []
        present = [entry.name for entry in entries if not entry.name.startswith(TEMPORARY_PREFIX)]
        for key in present:
            self._claim(key)
        for key in set(self._watched) - set(present):
            os.close(self._watched.pop(key))
        return present

    def _claim(self, key: str) -> None:
        if key in self._shipping or len(self._shipping) >= MAX_AT_ONCE:
            return  # claiming one's own again would drop its lock
        if time.monotonic() < self._not_before_s.get(key, 0.0):
            return
        folder = self._folder / key
        fd = outbox_files.claim(folder)
        if fd is None:
            self._watch(key)
            return
        thread = threading.Thread(target=self._deliver, args=(folder, key, fd), daemon=True, name=f"ship {key}")
        self._shipping[key] = thread
        thread.start()

    def _deliver(self, folder: Path, key: str, fd: int) -> None:
        try:
            orphan = Orphan(folder)
            death = self._death if not orphan.host_went_down else lambda key: POWER_LOSS
            if ship(orphan, lambda: death(key), self._stop, lambda problem: self._note(key, problem)):
                outbox_files.remove(folder)
                self.delivered_total += 1
                self.problems.pop(key, None)
        except (OSError, FormatError) as error:
            self._note(key, str(error))
            self._not_before_s[key] = time.monotonic() + RETRY_S
        finally:
            os.close(fd)

    def _note(self, key: str, problem: str) -> None:
        if problem and self.problems.get(key) != problem:
            logger.warning("%s waits: %s", key, problem)
        self.problems[key] = problem

    def _watch(self, key: str) -> None:
        """Have the end of an outbox's owner wake us, and be told of how it was."""
        if key in self._watched:
            return
        try:
            fd = open_pidfd(outbox_files.read_info(self._folder / key).info)
        except (OSError, FormatError):
            return
        if fd is not None:
            self._watched[key] = fd

    def _death(self, key: str) -> Death:
        patient_until = time.monotonic() + REAPED_WITHIN_S
        while (fd := self._watched.get(key)) is not None and time.monotonic() < patient_until:
            death = ask_kernel(fd)
            if death is not None:
                return death
            time.sleep(0.05)
        return UNKNOWN_DEATH

    def _wait(self) -> None:
        """Wait for the next look, or for an owner's end; one that has ended no longer wakes us."""
        poller = select.poll()
        ours = {fd: key for key, fd in self._watched.items() if key not in self._shipping}
        for fd in ours:
            poller.register(fd, select.POLLIN)
        if poller.poll(SCAN_EVERY_S * 1000):
            time.sleep(
                0.05
            )  # its lock goes with it, and a process that nobody has waited for is readable for ever


def main(base_dir: str, root: str) -> int:
    """Be the courier of a state folder until nothing is left; return the exit code."""
    state = State(base_dir=Path(base_dir), root=Path(root))
    lock = claim_courier(state)
    if lock is None:
        return 0
    os.nice(NICENESS)
    logging.basicConfig(format="%(asctime)s %(levelname)s courier: %(message)s")
    busy_s = time.monotonic()

    def keep_running(anything: bool) -> bool:
        nonlocal busy_s
        if anything:
            busy_s = time.monotonic()
        return time.monotonic() - busy_s < IDLE_S and Path(root).is_dir()

    Courier(state).run(keep_running)
    return 0


def claim_courier(state: State) -> int | None:
    """Take the courier's lock; return its descriptor, to be kept open, or None while a courier has it."""
    fd = os.open(state.courier_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    for _ in range(LOCK_TRIES):
        if os_support.lock_exclusively(fd):
            return fd
        time.sleep(0.02)  # who only looks whether it is held takes it for microseconds
    os.close(fd)
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
