"""The renderer as the watching process sees it: given a folder, heard, timed, and ended when it hangs."""

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
    """Return how a renderer is spawned; ``-P`` keeps a user's own modules out."""
    return [interpreter.to_start(), "-P", "-m", "neural.tracking.collector.visualizer.renderer", str(niceness)]


class RendererProcess:
    """One renderer, in a session of its own so that its priority is its own."""

    def __init__(self, command: list[str]) -> None:
        """Start it; raises OSError when that cannot be."""
        # More threads than one would take cores from the training, for arrays that are small.
        alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **alone},
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.at_work = False
        self._heard = b""
        self._waited_s = self._looked_s = self._cpu_s = 0.0
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def draw(self, folder: Path) -> None:
        """Have it draw a run; raises OSError when it is gone."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"folder": str(folder)}).encode() + b"\n")
        self._process.stdin.flush()
        self.at_work = True
        self._start_clock()

    def heard(self) -> list[dict[str, Any]]:
        """Return what it said since the last look, never waiting; each line starts the clock anew."""
        assert self._process.stdout is not None
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._process.stdout.fileno(), 1 << 16):
                self._heard += data
        *lines, self._heard = self._heard.split(b"\n")
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict):
                    found.append(said)
        if found:
            self._start_clock()
        if any("done" in line for line in found):
            self.at_work = False
        return found

    def alive(self) -> bool:
        """Return whether it runs."""
        return self._process.poll() is None

    def spent_s(self) -> float:
        """Return how long it has worked at the picture: its processor time, and the time it stood still.

        The time in which it was ready and others had the cores does not count: at its priority that may
        be long, and it is no sign of a fault.
        """
        now_s = time.monotonic()
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            if process.status() != psutil.STATUS_RUNNING:
                self._waited_s += now_s - self._looked_s
            self._looked_s = now_s
            return self._waited_s + _cpu_s(process) - self._cpu_s
        return 0.0

    def end(self) -> None:
        """Have it go: it leaves by itself when it has nothing to do, and is killed when it has."""
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
        self._waited_s, self._looked_s = 0.0, time.monotonic()
        with contextlib.suppress(psutil.Error):
            self._cpu_s = _cpu_s(psutil.Process(self.pid))


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
