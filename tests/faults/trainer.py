"""Training processes of a test that report how many of their calls returned, even if they are killed."""

import contextlib
import mmap
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.faults.harness import clean_environment
from tests.patience import PATIENCE_S, wait_until

SLOTS = 64

# Runs before the script's own lines. `returned` survives SIGKILL, because it is a shared mapping. Each number
# is one aligned store of 8 bytes, so a reader sees the old number or the new one.
_PRELUDE = """
import mmap as _mmap, os as _os, sys as _sys, pathlib as _pathlib
base_dir = _pathlib.Path(_sys.argv[1])
with open(_sys.argv[2], "r+b") as _file:
    returned = memoryview(_mmap.mmap(_file.fileno(), 0)).cast("q")
def ready():
    returned[{ready}] = 1
def go_requested():
    return bool(returned[{go}])
def wait_for_go():
    import time
    while not go_requested():
        time.sleep(0.002)
"""
_READY, _GO = SLOTS - 1, SLOTS - 2


class Trainer:
    """A training process; ``body`` is the source of its script.

    The script has the names ``base_dir``, ``returned`` (an array of integers, 0 at first), ``ready()``,
    ``wait_for_go()`` and ``go_requested()``. After each call that returned, it writes how many have returned:
    ``returned[0] = i + 1``. The other slots, up to 61, are for its threads or children. A kill may arrive
    between a call's return and that line, so one more event than reported may be stored.
    """

    def __init__(
        self,
        base_dir: Path,
        body: str,
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.suspended_ns, self._suspended_since_ns = 0, 0
        number = len(list(folder.glob("trainer-*.py")))
        self.script = folder / f"trainer-{number}.py"
        self.script.write_text(_PRELUDE.format(ready=_READY, go=_GO) + "\n" + body)
        channel = folder / f"trainer-{number}.returned"
        channel.write_bytes(bytes(8 * SLOTS))
        with channel.open("r+b") as file:
            self._channel = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")
        self._output = folder / f"trainer-{number}.out"
        with self._output.open("wb") as out:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-P", str(self.script), str(base_dir), str(channel)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=clean_environment(**(environment or {})),
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        """The text that it has printed so far, with errors."""
        return self._output.read_text(errors="replace")

    def returned(self, slot: int = 0) -> int:
        """Return how many calls have returned, as the script reports."""
        return self._channel[slot]

    def wait_ready(self, timeout_s: float = PATIENCE_S) -> None:
        self._wait(lambda: self._channel[_READY] != 0, timeout_s, "the training process is ready")

    def go(self) -> None:
        """End its ``wait_for_go()``; ``go_requested()`` is true from now on."""
        self._channel[_GO] = 1

    def wait_returned(self, count: int, slot: int = 0, timeout_s: float = PATIENCE_S) -> None:
        self._wait(lambda: self._channel[slot] >= count, timeout_s, f"{count} calls have returned")

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait until it ends and return its exit code; a negative one is a signal's number."""
        return self.process.wait(timeout_s)

    def succeed(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until it ends; assert that its exit code is 0."""
        code = self.wait(timeout_s)
        assert code == 0, f"the training process exited with {code}:\n{self.output}"

    def kill(self) -> int:
        """SIGKILL it; return the number in slot 0."""
        self.process.kill()
        self.process.wait(120)
        return self.returned()

    def kill_within(self, min_s: float, max_s: float, random_source: random.Random) -> int:
        """SIGKILL it at a random moment between ``min_s`` and ``max_s`` from now; return as :meth:`kill`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(random_source.uniform(min_s, max_s))
        return self.kill()

    def run_for(self, seconds: float) -> None:
        """Let it run for that time; assert that it does not end meanwhile."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(seconds)
            raise AssertionError(f"the training process exited with {code}:\n{self.output}")

    def suspend(self) -> None:
        self._suspended_since_ns = time.monotonic_ns()
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.suspended_ns += time.monotonic_ns() - self._suspended_since_ns

    def _wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        def reached() -> bool:
            if condition():
                return True
            code = self.process.poll()
            assert code is None, f"the training process exited with {code} before {what}:\n{self.output}"
            return False

        try:
            wait_until(reached, timeout_s, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None
