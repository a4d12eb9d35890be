"""Watches a training process and all processes that it starts, by a mark in their environment.

A helper that becomes a daemon is not a child any more, but it keeps the environment.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import signal
import threading
import time
from pathlib import Path

MARK = "COMPARE_MARK"
SAMPLE_S, SEARCH_S = 0.05, 0.25
IDLE_SHARE = 0.03
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Watch:
    """Samples CPU and memory of all marked processes until it is closed."""

    def __init__(self, mark: str) -> None:
        self.trainer = 0  # its pid, once it is known
        self.peaks: dict[int, int] = {}
        self._mark = f"{MARK}={mark}".encode()
        self._unmarked: set[int] = set()  # processes that have been checked
        self._cpu: dict[int, float] = {}
        self._times: list[float] = []
        self._totals: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop sampling. Blocks briefly."""
        self._done.set()
        self._thread.join()

    def cpu_between(self, start: float, stop: float) -> float:
        """Return the CPU seconds of all processes between two times of ``time.monotonic``."""
        return self._total_at(stop) - self._total_at(start)

    def helpers(self) -> list[int]:
        """Return the ids of the processes that run now beside the training process."""
        self._search()
        return [pid for pid in self._cpu if pid != self.trainer and _state(pid) not in ("", "Z", "X")]

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until all processes are idle; return False if they are not after ``timeout_s`` seconds."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            begun = time.monotonic()
            time.sleep(1.0)
            now = time.monotonic()
            if self.cpu_between(begun, now) < IDLE_SHARE * (now - begun):
                return True
        return False

    def end_all(self) -> None:
        """Kill all processes that still run."""
        for _ in range(3):
            for pid in [*self.helpers(), self.trainer]:
                send(pid, signal.SIGKILL)
            time.sleep(0.1)

    def _total_at(self, when: float) -> float:
        index = bisect.bisect_right(self._times, when) - 1
        return self._totals[index] if index >= 0 else 0.0

    def _work(self) -> None:
        searched = 0.0
        while not self._done.wait(SAMPLE_S):
            if time.monotonic() - searched > SEARCH_S:
                self._search()
                searched = time.monotonic()
            for pid in list(self._cpu):
                self._sample(pid)
            self._totals.append(sum(self._cpu.values()))
            self._times.append(time.monotonic())

    def _search(self) -> None:
        for name in os.listdir("/proc"):
            if name.isdigit() and (pid := int(name)) not in self._unmarked and pid not in self._cpu:
                try:
                    marked = self._mark in Path(f"/proc/{pid}/environ").read_bytes()
                except OSError:
                    continue
                if marked:
                    self._cpu[pid] = 0.0
                    self._sample(pid)
                elif _state(pid) not in ("", "Z") and _age_s(pid) > 1:  # before exec it has its parent's
                    self._unmarked.add(pid)

    def _sample(self, pid: int) -> None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            self._cpu[pid] = max(self._cpu[pid], (int(fields[11]) + int(fields[12])) * _TICK_S)
            self.peaks[pid] = max(int(fields[21]) * _PAGE, self.peaks.get(pid, 0))


def send(pid: int, what: signal.Signals) -> None:
    """Send a signal; does nothing if the process has exited."""
    if pid > 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _age_s(pid: int) -> float:
    try:
        started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) * _TICK_S
        return float(Path("/proc/uptime").read_text().split()[0]) - started
    except (OSError, ValueError, IndexError):
        return 0.0
