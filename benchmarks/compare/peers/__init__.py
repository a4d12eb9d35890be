"""The tools that are compared, behind one little interface; each is imported in its environment only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

Log = Callable[[dict[str, float], int], object]


class Peer(Protocol):
    """Calls arrive in this order: ``load``, ``start``, what ``start`` returned many times, ``finish``."""

    def load(self) -> None:
        """Import the tool."""

    def start(self, folder: Path) -> Log:
        """Open a run in ``folder`` as the tool's first steps show it; return what logs one call's metrics."""

    def finish(self) -> None:
        """End the run as the tool's own first steps show it."""

    def read(self, folder: Path) -> list[int]:
        """Return the steps at which ``metric_0`` is stored, read with the tool's own reader."""
