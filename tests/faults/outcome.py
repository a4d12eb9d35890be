"""The result of runs: waits until all is delivered, reads the values, runs ``ntrack verify``."""

import contextlib
import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from neural.tracking.cli import main as ntrack
from neural.tracking.core.files import TEMPORARY_PREFIX
from neural.tracking.errors import TrackingError
from neural.tracking.reader.run import Run
from neural.tracking.reader.run_list import list_runs
from neural.tracking.state.paths import State
from neural.tracking.verify.verify import SessionReport, verify_base
from tests.faults.disks import Disk
from tests.patience import PATIENCE_S, wait_until

_ONE_RUNNER = threading.Lock()  # a CliRunner replaces the process's standard output
OUTBOX_FULL, LOG_LOST = "outbox_full", "log_lost"


@dataclass
class Points:
    """One session's points of one metric, in the order of their numbers."""

    seq: np.ndarray
    step: np.ndarray
    value: np.ndarray


def only_run(base_dir: Path) -> Run:
    """Return the only run of a folder."""
    (run,) = list_runs(base_dir)
    return run


def wait_settled(base_dir: Path, timeout_s: float = PATIENCE_S) -> list[SessionReport]:
    """Wait until every session has ended and nothing is pending; return the reports of all sessions."""
    outboxes = State.for_base_dir(base_dir).outbox
    seen: list[SessionReport] = []

    def waiting() -> list[str]:
        """Return the names of outboxes, without those whose process died while it created them."""
        names = [path.name for path in outboxes.iterdir()] if outboxes.is_dir() else []
        return [name for name in names if not name.startswith(TEMPORARY_PREFIX)]

    def settled() -> bool:
        if waiting():
            return False  # this check is cheap, the count below is expensive
        with contextlib.suppress(OSError, TrackingError):  # read during a change
            seen[:] = [session for run in verify_base(base_dir).runs for session in run.sessions]
        return bool(seen) and all(s.ended and not s.pending for s in seen)

    try:
        wait_until(settled, timeout_s, f"all sessions under {base_dir} have ended and are stored")
    except AssertionError as error:
        raise AssertionError(f"{error}\noutboxes: {waiting()}\nsessions: {seen}") from None
    return seen


def verify(base_dir: Path, disk: Disk | None = None) -> int:
    """Return the exit code of ``ntrack verify``; pytest shows its output if an assert fails."""
    arguments = ["verify", "--json", "--base-dir", str(base_dir)]
    if disk is None:
        # A process of its own would take half a second more.
        with _ONE_RUNNER:
            done = CliRunner().invoke(ntrack, arguments, catch_exceptions=False)
            code, output = done.exit_code, done.stdout
            print(output[-4000:])  # with the lock, because another runner would capture it as its output
    else:
        command = [*disk.enter, sys.executable, "-P", "-m", "neural.tracking.cli", *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.stdout, ran.stderr
        code, output = ran.returncode, ran.stdout
        print(output[-4000:])
    assert json.loads(output)["exit_code"] == code
    return code


def points(run: Run, metric: str) -> dict[str, Points]:
    """Return the points of a metric by session."""
    columns = run.metric(metric, ranks="all")
    found = {}
    for index, session in enumerate(columns.sessions):
        own = np.flatnonzero(columns.session == index)
        own = own[np.argsort(columns.seq[own], kind="stable")]
        found[session] = Points(columns.seq[own], columns.step[own], columns.value[own])
    return found


def points_of(run: Run, metric: str) -> Points:
    """Return the points of a metric that only one session logged."""
    (found,) = points(run, metric).values()
    return found
