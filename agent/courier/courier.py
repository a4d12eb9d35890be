"""``python -m neural.tracking.agent.courier.courier BASE_DIR STATE``: ships artifacts and orphans.

A collector on another host cannot see how a training process ends. So the first session of a host starts a
courier, one for each state folder, under a lock. The courier claims each orphan, ships it under the orphan's
own session id, reports how the process ended, and removes the outbox once the collector has all of it on
disk. It also sends the artifacts of all sessions, so that no training process has to. It leaves when nothing
is left. Data that it could not deliver waits for the next courier: every session, and every ``ntrack``
command that reads, starts one where it is needed.
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
IDLE_S = 10.0  # without any outbox or artifact, the courier leaves
RETRY_S = 30.0  # before the next attempt at an outbox that could not be read
MAX_AT_ONCE = 8
NICENESS = 5
LOCK_TRIES = 10


class Courier:
    """Delivers the remote outboxes and artifacts of one state folder; ``problems`` says what prevents it."""

    def __init__(self, state: State) -> None:
        self.delivered_total = 0
        self.problems: dict[str, str] = {}  # by outbox or address; empty text: none
        self._folder = state.remote_outbox
        self._state = state
        self._shipping: dict[str, threading.Thread] = {}
        self._uploading: dict[str, threading.Thread] = {}  # by address
        self._not_before_s: dict[str, float] = {}
        self._watched: dict[str, int] = {}  # by outbox: pidfd of its running owner
        self._stop = threading.Event()

    def run(self, keep_running: Callable[[bool], bool]) -> None:
        """Scan once a second until ``keep_running`` returns False. Blocks until then.

        Args:
            keep_running: called after each scan with whether any outbox or artifact is there.
        """
        while True:
            present = self.scan()
            if not keep_running(bool(present)):
                break
            self._wait()
        self.stop()

    def stop(self) -> None:
        """Stop all deliveries; a later courier continues them. Blocks for 5 s a delivery at most."""
        self._stop.set()
        for thread in [*self._shipping.values(), *self._uploading.values()]:
            thread.join(5.0)

    def scan(self) -> list[str]:
        """Start the delivery of orphans and artifacts; return the outboxes and addresses that are present."""
        return [*self._scan_outboxes(), *self._scan_spool()]

    def _scan_spool(self) -> list[str]:
        """Start an upload for each address, also for artifacts of running processes; return the addresses."""
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
            return  # a second claim by this process would drop the lock
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
        """Open a pidfd of an outbox's owner: its end wakes the courier, and the kernel reports how it ended."""
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
        """Wait for the next scan, or for the end of an owner whose outbox is not yet being shipped."""
        poller = select.poll()
        ours = {fd: key for key, fd in self._watched.items() if key not in self._shipping}
        for fd in ours:
            poller.register(fd, select.POLLIN)
        if poller.poll(SCAN_EVERY_S * 1000):
            time.sleep(0.05)  # until its lock is free; limits polling, too: a zombie's pidfd stays readable


def main(base_dir: str, root: str) -> int:
    """Run the courier of a state folder until nothing is left; return the exit code. Blocks until then.

    Returns 0 at once if another courier runs.
    """
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
    """Take the courier's lock; return its descriptor, which must stay open, or None while a courier holds it.

    Blocks for some 0.2 s at most. Raises OSError if the lock file cannot be opened.
    """
    fd = os.open(state.courier_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    for _ in range(LOCK_TRIES):
        if os_support.lock_exclusively(fd):
            return fd
        time.sleep(0.02)  # a process that only checks the lock holds it for microseconds
    os.close(fd)
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
