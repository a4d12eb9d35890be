"""tensorboardX: ``add_scalar`` for each metric of a call."""

from __future__ import annotations

from pathlib import Path

from peers import Log
from peers.tensorboard_writer import scalar_steps


class TensorBoardX:
    """Implements :class:`peers.Peer`."""

    def load(self) -> None:
        from tensorboardX import SummaryWriter

        self._Writer = SummaryWriter

    def start(self, folder: Path) -> Log:
        self._writer = self._Writer(str(folder))
        return self._log

    def _log(self, metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        self._writer.close()

    def read(self, folder: Path) -> list[int]:
        return scalar_steps(folder)


def make(mode: str) -> TensorBoardX:
    """Return a new peer; ``mode`` is that of its entry in the catalog."""
    return TensorBoardX()
