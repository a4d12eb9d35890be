"""Training processes of a test that say how many of their calls returned, also when they are killed."""

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

# Runs before a trainer's own lines. `returned` outlives SIGKILL: it is a shared mapping, and one aligned
# store of 8 bytes, so a reader sees the old number or the new.
_PRELUDE = """
import mmap as _mmap, os as _os, sys as _sys, pathlib as _pathlib
base_dir = _pathlib.Path(_sys.argv[1])
with open(_sys.argv[2], "r+b") as _file:
    returned = memoryview(_mmap.mmap(_file.fileno(), 0)).cast("q")
def ready():
    returned[{ready}] = 1
def told_to_go():
    return bool(returned[{go}])
def wait_for_go():
    import time
    while not told_to_go():
        time.sleep(0.002)
"""
_READY, _GO = SLOTS - 1, SLOTS - 2


class Trainer:
    """A training process of its own: ``body`` is the source of its script.

    The script finds ``base_dir``, the array ``returned`` of whole numbers (0 at first), ``ready()``,
    ``wait_for_go()`` and ``told_to_go()``. It writes, after each call that returned, how many did:
    ``returned[0] = i + 1``; further slots, up to 61, are for its threads or children. A kill can fall
    between a call's return and that line, so one more event than told may be stored.
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
        self.stood_still_ns, self._suspended_ns = 0, 0
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
        """What it printed so far, errors too."""
        return self._output.read_text(errors="replace")

    def returned(self, slot: int = 0) -> int:
        """Return how many calls have returned, as far as it said."""
        return self._channel[slot]

    def wait_ready(self, timeout_s: float = PATIENCE_S) -> None:
        self._wait(lambda: self._channel[_READY] != 0, timeout_s, "the trainer is ready")

    def go(self) -> None:
        """Release it from ``wait_for_go()``; ``told_to_go()`` is true from now on."""
        self._channel[_GO] = 1

    def wait_returned(self, count: int, slot: int = 0, timeout_s: float = PATIENCE_S) -> None:
        self._wait(lambda: self._channel[slot] >= count, timeout_s, f"{count} calls have returned")

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Return its exit code; negative is a signal's number."""
        return self.process.wait(timeout_s)

    def succeed(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait for its end, which must be a good one."""
        code = self.wait(timeout_s)
        assert code == 0, f"the trainer left with {code}:\n{self.output}"

    def kill(self) -> int:
        """SIGKILL; return how many calls it said had returned in slot 0."""
        self.process.kill()
        self.process.wait(120)
        return self.returned()

    def kill_within(self, least_s: float, most_s: float, random_source: random.Random) -> int:
        """SIGKILL at a random moment of that window from now; return as :meth:`kill`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(random_source.uniform(least_s, most_s))
        return self.kill()

    def go_on_for(self, seconds: float) -> None:
        """Let it go on for a while; it must live to its end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(seconds)
            raise AssertionError(f"the trainer left with {code}:\n{self.output}")

    def suspend(self) -> None:
        self._suspended_ns = time.monotonic_ns()
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.stood_still_ns += time.monotonic_ns() - self._suspended_ns

    def _wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        def reached() -> bool:
            if condition():
                return True
            code = self.process.poll()
            assert code is None, f"the trainer left with {code} before {what}:\n{self.output}"
            return False

        try:
            wait_until(reached, timeout_s, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None
