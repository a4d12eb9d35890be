"""Averages gradients between processes through shared memory: what an all-reduce does on GPUs."""

from __future__ import annotations

from multiprocessing.context import SpawnContext
from multiprocessing.sharedctypes import SynchronizedArray
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
TIMEOUT_S = 300.0


class Ring:
    """What the processes share; made by the parent and handed to each child when it is started."""

    def __init__(self, context: SpawnContext, ranks: int, width: int) -> None:
        self.ranks = ranks
        self._width = width
        self._memory: SynchronizedArray[Any] = context.Array("d", ranks * width)
        self._barrier = context.Barrier(ranks, timeout=TIMEOUT_S)

    def average(self, rank: int, values: Array) -> Array:
        """Return the mean of what all ranks passed; every rank must call it, and gets the same bits."""
        table = np.frombuffer(self._memory.get_obj()).reshape(self.ranks, self._width)
        table[rank] = values
        self._barrier.wait()  # all have written
        mean: Array = table.mean(axis=0)
        self._barrier.wait()  # all have read
        return mean

    def abort(self) -> None:
        """Let the other ranks fail now instead of waiting for one that is gone."""
        self._barrier.abort()
