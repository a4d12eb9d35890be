"""Runs one trial: environment, folder, time limit; ends all its processes and removes its files."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from catalog import ROOT, Entry
from watch import MARK, Watch

HERE = Path(__file__).resolve().parent
# No tool may use the network, and the linear algebra of the loop has one thread.
SETTINGS = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_NOTICE": "true",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "HF_HUB_OFFLINE": "1",
    "AIM_UI_TELEMETRY_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
# Imports are timed with compiled modules, as after the first import.
NOT_PASSED_ON = ("NTRACK_", "WANDB_", "MLFLOW_", "PYTHONDONTWRITEBYTECODE")


class Trial:
    """A training process with one tool, in a folder of its own."""

    def __init__(self, entry: Entry, python: Path, folder: Path) -> None:
        self.entry = entry
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        self.mark = secrets.token_hex(8)
        self.watch = Watch(self.mark)
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, measure: str, options: dict[str, Any]) -> None:
        """Start the training process, which writes its result at its end. Does not wait."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(NOT_PASSED_ON)}
        environment = {
            **kept,
            **SETTINGS,
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "PYTHONPYCACHEPREFIX": str(ROOT / ".compare" / "compiled" / self.entry.environment),
            MARK: self.mark,
        }
        command = [str(self._python), str(HERE / "trial.py"), self.entry.module, self.entry.mode, measure]
        with (self.folder / "output.txt").open("ab") as output:
            self._process = subprocess.Popen(
                [*command, str(self.folder), json.dumps(options)],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.watch.trainer = self._process.pid

    def wait(self, timeout_s: float) -> bool:
        """Wait until the process ends; return False if it has not after ``timeout_s`` seconds."""
        assert self._process is not None
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait_for(self, name: str, timeout_s: float) -> bool:
        """Wait until the training process has created the file or has ended; return whether the file exists."""
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if (self.folder / name).exists():
                return True
            if self._process.poll() is not None:
                return (self.folder / name).exists()
            time.sleep(0.01)
        return False

    def wait_finished(self, timeout_s: float) -> bool:
        """Wait for the figures before the finish, then ``timeout_s`` seconds for the end; return if it came."""
        return self.wait_for("partial.json", 300) and self.wait(timeout_s)

    def result(self) -> dict[str, Any]:
        """Return the figures of the training process, else those before the finish, else why it failed."""
        for name in ("result.json", "partial.json"):
            if (self.folder / name).exists():
                return dict(json.loads((self.folder / name).read_text()))
        output = (self.folder / "output.txt").read_text(errors="replace").strip().splitlines()
        return {"failed": output[-1][-300:] if output else "no result"}

    def disk_bytes(self) -> int:
        """Return the size of all files that the tool left, including its working files."""
        sizes = []
        for path in self.data.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file() and not path.is_symlink():
                    sizes.append(path.stat().st_size)
        return sum(sizes)


@contextlib.contextmanager
def trial(entry: Entry, python: Path) -> Iterator[Trial]:
    """Yield a trial with a folder on the disk; at the end, kill all its processes and remove the folder."""
    folder = Path(tempfile.mkdtemp(prefix="compare-", dir="/var/tmp"))
    made = Trial(entry, python, folder)
    try:
        yield made
    finally:
        made.watch.end_all()
        made.watch.close()
        shutil.rmtree(folder, ignore_errors=True)
