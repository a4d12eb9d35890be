"""The renderer as the visualizer sees it: gets a folder, reports, is timed, and is killed when it hangs."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from neural.tracking.core import interpreter

QUIT_S = 0.5


def renderer_command(niceness: int) -> list[str]:
    """Return the command that spawns a renderer; ``-P`` keeps a user's own modules out. Never blocks."""
    return [interpreter.to_start(), "-P", "-m", "neural.tracking.collector.visualizer.renderer", str(niceness)]


class RendererProcess:
    """One renderer, in a session of its own so that its priority is its own."""

    def __init__(self, command: list[str]) -> None:
        """Start the process; raises OSError if that fails."""
        # More than one thread would take cores from the training, and the arrays are small.
        environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.at_work = False
        self._unparsed = b""
        self._waited_s = self._checked_s = self._cpu_s = 0.0
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def draw(self, folder: Path) -> None:
        """Let it draw a run. Never blocks; raises OSError if the process is gone."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"folder": str(folder)}).encode() + b"\n")
        self._process.stdin.flush()
        self.at_work = True
        self._start_clock()

    def receive(self) -> list[dict[str, Any]]:
        """Return what it reported since the last call; each report restarts the clock. Never blocks."""
        assert self._process.stdout is not None
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._process.stdout.fileno(), 1 << 16):
                self._unparsed += data
        *lines, self._unparsed = self._unparsed.split(b"\n")
        received = []
        for line in lines:
            with contextlib.suppress(ValueError):
                message = json.loads(line)
                if isinstance(message, dict):
                    received.append(message)
        if received:
            self._start_clock()
        if any("done" in line for line in received):
            self.at_work = False
        return received

    def alive(self) -> bool:
        """Return whether the process runs. Never blocks."""
        return self._process.poll() is None

    def spent_s(self) -> float:
        """Return for how many seconds it has worked at the plot: its processor time, and its blocked time.

        The time in which it was runnable and other processes had the cores does not count. At its priority that
        may be long, and it is no sign of a fault. Never blocks.
        """
        now_s = time.monotonic()
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            if process.status() != psutil.STATUS_RUNNING:
                self._waited_s += now_s - self._checked_s
            self._checked_s = now_s
            return self._waited_s + _cpu_s(process) - self._cpu_s
        return 0.0

    def end(self) -> None:
        """End the process: an idle one leaves by itself, a busy one is killed. Blocks for half a second."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        if self.at_work:
            self._process.kill()
        try:
            self._process.wait(QUIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _start_clock(self) -> None:
        self._waited_s, self._checked_s = 0.0, time.monotonic()
        with contextlib.suppress(psutil.Error):
            self._cpu_s = _cpu_s(psutil.Process(self.pid))


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
