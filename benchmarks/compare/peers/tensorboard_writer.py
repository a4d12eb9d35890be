"""The event writer of the tensorboard package: one event for each call, with a queue and a thread."""

from __future__ import annotations

import time
from pathlib import Path

from peers import Log


class TensorBoardWriter:
    """Implements :class:`peers.Peer`."""

    def load(self) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._Event, self._Summary, self._Writer = Event, Summary, EventFileWriter

    def start(self, folder: Path) -> Log:
        self._writer = self._Writer(str(folder))
        return self._log

    def _log(self, metrics: dict[str, float], step: int) -> None:
        values = [self._Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        event = self._Event(wall_time=time.time(), step=step, summary=self._Summary(value=values))
        self._writer.add_event(event)

    def finish(self) -> None:
        self._writer.close()

    def read(self, folder: Path) -> list[int]:
        return scalar_steps(folder)


def scalar_steps(folder: Path) -> list[int]:
    """Return all steps of ``metric_0``, read with TensorBoard's own accumulator, without sampling."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    if "metric_0" not in accumulator.Tags()["scalars"]:
        return []
    return [event.step for event in accumulator.Scalars("metric_0")]


def make(mode: str) -> TensorBoardWriter:
    """Return a new peer; ``mode`` is that of its entry in the catalog."""
    return TensorBoardWriter()
