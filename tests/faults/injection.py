"""Makes the n-th system call of a process fail, or kills the process there: with strace, or a hook in Python.

strace works for any program and for the real system call. But it counts the calls of each thread separately,
repeats the fault in every restarted process, and makes system calls about a hundred times slower. The hook
only sees calls of the module ``os``, and has none of these limits.
"""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from tests.patience import wait_until

HOOK = Path(__file__).parent / "hook"
SYNCS = ("fdatasync", "fsync")
RENAMES = ("rename", "renameat", "renameat2")
UNLINKS = ("unlink", "unlinkat")
DURABLE_STEPS = (*SYNCS, *RENAMES, *UNLINKS)


def _strace_works():
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True)
    return tried.returncode == 0


needs_strace = pytest.mark.skipif(not _strace_works(), reason="strace is missing or may not trace here")


def under_strace(
    command: Sequence[str],
    *,
    calls: Sequence[str],
    nth: int = 1,
    error: str | None = None,
    signal: str | None = None,
    every_later: bool = False,
    log: Path | None = None,
) -> list[str]:
    """Return ``command`` wrapped so that the ``nth`` of ``calls`` in any one thread fails or kills.

    Args:
        calls: names of system calls, each counted separately; strace ignores unknown ones.
        error: name of the errno that the call returns; the call is not executed.
        signal: name of a signal that arrives at the entry of the call; with SIGKILL it is not executed.
        every_later: whether all later calls fail, too.
        log: the file into which strace writes the calls.

    The started process is the command itself (strace is its grandchild), so pid and exit status are the
    command's. Its children are traced, too, and have counters of their own.
    """
    if (error is None) == (signal is None):
        raise ValueError("give either error or signal")
    names = ",".join(f"?{call}" for call in calls)
    act = f"error={error}" if error else f"signal={signal}"
    # With --seccomp-bpf strace stops only the chosen calls, but then injects no signals (seen with 6.1).
    fast = ["--seccomp-bpf"] if error else []
    return [
        "strace", "-f", "-D", "-qq", *fast, "-o", str(log or os.devnull), "-e", "signal=none",
        "-e", f"trace={names}", "-e", f"inject={names}:{act}:when={nth}{'+' if every_later else ''}",
        *command,
    ]  # fmt: skip


def attach_strace(
    pid: int, *, calls: Sequence[str], nth: int = 1, error: str | None = None, signal: str | None = None
) -> subprocess.Popen:
    """Do the same to a running process from now on; return the tracer, which a test terminates to detach it."""
    wrapped = under_strace([], calls=calls, nth=nth, error=error, signal=signal)
    command = [word for word in wrapped if word not in ("-D", "--seccomp-bpf")]
    tracer = subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.DEVNULL)
    wait_until(lambda: _all_threads_traced(pid), what=f"strace has attached to {pid}")
    return tracer


def _all_threads_traced(pid):
    try:
        threads = Path(f"/proc/{pid}/task").iterdir()
        return all("TracerPid:\t0\n" not in (thread / "status").read_text() for thread in threads)
    except FileNotFoundError:
        return False  # a thread ended during the check


@dataclass(frozen=True)
class Rule:
    """A fault at the ``nth`` call of ``calls`` (counted over all threads) in a process.

    Args:
        calls: of fdatasync, fsync, rename, unlink, link, mkdir, rmdir, open, write, truncate, fallocate.
        error: raise OSError with the errno of this name, at ``times`` calls from the nth on (0: all).
        signal: send this signal to the process, only once, even if the process is started again.
        when: ``before`` the call (with SIGKILL it is not executed) or ``after`` it.
        only: a part of the process's command line, to select a worker or the daemon.
        loses: before an fdatasync or fsync fails, fill with zeros what was written since the last good one,
            as a failing disk may do.
    """

    calls: tuple[str, ...]
    nth: int = 1
    error: str | None = None
    signal: str | None = None
    when: str = "before"
    times: int = 1
    only: str = ""
    loses: bool = False
    id: int = field(default_factory=itertools.count(1).__next__)

    def __post_init__(self):
        if (self.error is None) == (self.signal is None):
            raise ValueError("give either error or signal")


def kill_at(calls: Sequence[str], nth: int, *, only: str = "", when: str = "before") -> Rule:
    return Rule(tuple(calls), nth, signal="SIGKILL", only=only, when=when)


def fail_at(
    calls: Sequence[str], nth: int, error: str, *, times: int = 1, only: str = "", loses: bool = False
) -> Rule:
    return Rule(tuple(calls), nth, error=error, times=times, only=only, loses=loses)


class Faults:
    """A plan of faults in a folder of its own, for processes that start with :meth:`environment`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def environment(
        self, *rules: Rule, record: str | None = None, recorded_calls: Sequence[str] = ()
    ) -> dict[str, str]:
        """Write the plan; return the environment for Python processes that, with their children, follow it.

        Args:
            record: record the calls of processes that have this in their command line, for :meth:`calls`.
            recorded_calls: the calls to record; default: those that sync, rename or unlink.
        """
        plan = {
            "folder": str(self._folder),
            "rules": [asdict(rule) for rule in rules],
            "record": "\0" if record is None else record,  # NUL is in no command line
            "recorded_calls": list(recorded_calls or ("fdatasync", "fsync", "rename", "unlink")),
        }
        path = self._folder / "plan.json"
        path.write_text(json.dumps(plan))
        return {"FAULT_PLAN": str(path), "PYTHONPATH": str(HOOK)}

    def fired(self, rule: Rule) -> list[int]:
        """Return the pids of the processes in which the rule was applied, in order."""
        try:
            return [int(line) for line in (self._folder / f"fired-{rule.id}").read_text().split()]
        except FileNotFoundError:
            return []

    def calls(self) -> list[tuple[int, str, str]]:
        """Return the recorded calls in their order, each as (pid, call, path)."""
        try:
            lines = (self._folder / "calls").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [tuple(json.loads(line)) for line in lines]
