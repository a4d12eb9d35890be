"""The compared tools behind one small interface; each tool is only imported in its own environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

Log = Callable[[dict[str, float], int], object]


class Peer(Protocol):
    """A tool. The order of calls: ``load``, ``start``, the function from ``start`` many times, ``finish``."""

    def load(self) -> None:
        """Import the tool."""

    def start(self, folder: Path) -> Log:
        """Open a run in ``folder`` as in the tool's first example; return the function that logs metrics."""

    def finish(self) -> None:
        """End the run as in the tool's own first example."""

    def read(self, folder: Path) -> list[int]:
        """Return the stored steps of ``metric_0``, read with the tool's own reader."""
