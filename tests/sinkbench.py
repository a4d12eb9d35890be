"""A folder of runs with sinks that fail in different ways, and the events that they received."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from neural.tracking.collector import commands
from neural.tracking.errors import CollectorUnreachableError
from neural.tracking.sink_state.status import sink_statuses
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[1]


class Bench:
    """A folder of runs. The fixture stops its collector at the end of the test."""

    def __init__(self, base: Path):
        self.base = base
        self.state = State.for_base_dir(base)

    def ntrack(self, *arguments, check=True, **environ):
        done = subprocess.run(
            [sys.executable, "-m", "neural.tracking.cli", *arguments, "--base-dir", str(self.base)],
            env={**os.environ, "COLUMNS": "200", **environ},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def add(self, name, kind="rough", *options, **settings):
        settings = {"folder": str(self.folder(name)), **settings}
        sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        self.ntrack("sinks", "add", name, "--type", kind, *options, *sets)

    def folder(self, name):
        return self.base.parent / "backends" / name

    def fault(self, name, fault=None):
        self.folder(name).parent.mkdir(parents=True, exist_ok=True)
        file = self.folder(name).with_suffix(".fault")
        file.write_text(fault) if fault else file.unlink(missing_ok=True)

    def lines(self, name, run=""):
        found = []
        for file in sorted(self.folder(name).glob(f"{run}*.jsonl")):
            found += [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]
        return found

    def points(self, name, run=""):
        """Return how often each (metric, step, value) arrived, for all runs or for one folder's name."""
        return Counter(
            (metric, line["step"], value)
            for line in self.lines(name, run)
            if line["kind"] == "metrics"
            for metric, value in line["data"].items()
        )

    def status(self, name):
        answer = None
        with contextlib.suppress(CollectorUnreachableError):  # not started yet
            answer = request(self.state, "status", timeout_s=PATIENCE_S)
        return next(s for s in sink_statuses(self.state, answer) if s.name == name)

    def until(self, condition, timeout_s=2 * PATIENCE_S):
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                log = self.state.daemon_log.read_text()[-4000:] if self.state.daemon_log.exists() else ""
                raise AssertionError(f"the condition remained false; collector.log: {log}")
            time.sleep(0.05)


def rough_plugins(folder):
    """Install the sinks as plugins in a folder; return the PYTHONPATH on which Python finds them."""
    about = folder / "rough-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rough\nVersion: 1.0\n")
    kinds = ("Rough", "Absent", "Forgetful", "Curious")
    lines = [f"{kind.lower()} = tests.rough_sinks:{kind}Sink" for kind in kinds]
    (about / "entry_points.txt").write_text("\n".join(["[neural_tracking.sinks]", *lines, ""]))
    return f"{folder}:{ROOT}"


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", rough_plugins(tmp_path / "plugins"))
    for name in ("NTRACK_MODE", "NTRACK_DIR", "NTRACK_SINKS", "NTRACK_STATE_DIR", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    made = Bench(tmp_path / "runs")
    yield made
    if made.base.is_dir():
        commands.stop(made.base, timeout_s=120)
