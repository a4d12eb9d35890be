"""Trackio with its local SQLite file: a queue and a thread inside the training process."""

from __future__ import annotations

import os
from pathlib import Path

from peers import Log


class TrackioLocal:
    """Implements :class:`peers.Peer`."""

    def load(self) -> None:
        # Trackio reads the folder when it is imported; a trial's data folder always has this name.
        os.environ["TRACKIO_DIR"] = str(Path.cwd() / "data" / "trackio")
        import trackio

        self._trackio = trackio

    def start(self, folder: Path) -> Log:
        self._trackio.init(project="compare", name="run", embed=False)
        return self._trackio.log

    def finish(self) -> None:
        self._trackio.finish()

    def read(self, folder: Path) -> list[int]:
        from trackio.sqlite_storage import SQLiteStorage

        return [row["step"] for row in SQLiteStorage.get_logs("compare", "run") if "metric_0" in row]


def make(mode: str) -> TrackioLocal:
    """Return a new peer; ``mode`` is that of its entry in the catalog."""
    return TrackioLocal()
