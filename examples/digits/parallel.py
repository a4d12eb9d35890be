"""Averages gradients between processes through shared memory, as an all-reduce does on GPUs."""

from __future__ import annotations

from multiprocessing.context import SpawnContext
from multiprocessing.sharedctypes import SynchronizedArray
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
TIMEOUT_S = 300.0


class Ring:
    """The memory that the processes share. The parent creates it and passes it to each child at its start."""

    def __init__(self, context: SpawnContext, ranks: int, width: int) -> None:
        self.ranks = ranks
        self._width = width
        self._memory: SynchronizedArray[Any] = context.Array("d", ranks * width)
        self._barrier = context.Barrier(ranks, timeout=TIMEOUT_S)

    def average(self, rank: int, values: Array) -> Array:
        """Return the mean of all ranks' values, the same bits in each rank. Blocks until all ranks call it."""
        table = np.frombuffer(self._memory.get_obj()).reshape(self.ranks, self._width)
        table[rank] = values
        self._barrier.wait()  # all have written
        mean: Array = table.mean(axis=0)
        self._barrier.wait()  # all have read
        return mean

    def abort(self) -> None:
        """Let the other ranks fail now, so that they do not wait for a failed one."""
        self._barrier.abort()
