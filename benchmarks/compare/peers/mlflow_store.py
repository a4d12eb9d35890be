"""MLflow with SQLite, directly or through a real ``mlflow server``; synchronous, or in mode async queued."""

from __future__ import annotations

import functools
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from peers import Log

SERVER_START_S = 150.0


class MlflowStore:
    """Implements :class:`peers.Peer`."""

    def __init__(self, mode: str) -> None:
        self._served = mode.startswith("server")
        self._async = mode.endswith("async")

    def load(self) -> None:
        import mlflow

        self._mlflow = mlflow

    def start(self, folder: Path) -> Log:
        self._mlflow.set_tracking_uri(self._serve(folder) if self._served else _database(folder))
        self._mlflow.start_run()
        return functools.partial(self._mlflow.log_metrics, synchronous=not self._async)

    def finish(self) -> None:
        if self._async:  # end_run alone leaves the queue to the exit of the process
            self._mlflow.flush_async_logging()
        self._mlflow.end_run()

    def read(self, folder: Path) -> list[int]:
        client = self._mlflow.MlflowClient(tracking_uri=_database(folder))
        (run,) = client.search_runs(["0"])
        return [metric.step for metric in client.get_metric_history(run.info.run_id, "metric_0")]

    def _serve(self, folder: Path) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        more = ["--backend-store-uri", _database(folder), "--default-artifact-root", str(folder / "artifacts")]
        subprocess.Popen([*command, *more, "--workers", "1"])
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + SERVER_START_S
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).close()
                return address
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


def _database(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def make(mode: str) -> MlflowStore:
    """Return a new peer; ``mode`` is that of its entry in the catalog."""
    return MlflowStore(mode)
