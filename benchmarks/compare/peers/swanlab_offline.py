"""SwanLab in offline mode: a queue and threads inside the training process, one file of records."""

from __future__ import annotations

from pathlib import Path

from peers import Log


class SwanLabOffline:
    """Implements :class:`peers.Peer`."""

    def load(self) -> None:
        import swanlab

        self._swanlab = swanlab

    def start(self, folder: Path) -> Log:
        self._swanlab.init(project="compare", mode="offline", log_dir=str(folder))
        return self._swanlab.log

    def finish(self) -> None:
        self._swanlab.finish()

    def read(self, folder: Path) -> list[int]:
        from swanlab.proto.swanlab.record.v1.record_pb2 import Record
        from swanlab.sdk.internal.core_python.store import DataStoreReader

        steps = []
        for path in folder.glob("run-*/*.swanlab"):
            reader = DataStoreReader()
            reader.open(path)
            for data in reader:
                record = Record.FromString(data)
                if record.HasField("scalar") and record.scalar.key == "metric_0":
                    steps.append(record.scalar.step)
        return steps


def make(mode: str) -> SwanLabOffline:
    """Return a new peer; ``mode`` is that of its entry in the catalog."""
    return SwanLabOffline()
