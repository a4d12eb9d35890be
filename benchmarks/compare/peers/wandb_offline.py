"""Weights & Biases in offline mode: a call goes to the wandb-core process, which writes the .wandb file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from peers import Log


class WandbOffline:
    """Implements :class:`peers.Peer`."""

    def load(self) -> None:
        import wandb

        self._wandb = wandb

    def start(self, folder: Path) -> Log:
        self._run = self._wandb.init(project="compare", dir=str(folder), mode="offline")
        return self._run.log

    def finish(self) -> None:
        self._run.finish()

    def read(self, folder: Path) -> list[int]:
        (run,) = (folder / "wandb").glob("offline-run-*")
        inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
        printed = subprocess.run(inspect, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
        steps = []
        for line in printed.splitlines():
            if '"type":"history"' in line and "metric_0" in line:
                steps.append(json.loads(line)["history"]["item"]["_step"])
        return steps


def make(mode: str) -> WandbOffline:
    """Return a new peer; ``mode`` is that of its entry in the catalog."""
    return WandbOffline()
