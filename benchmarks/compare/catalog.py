"""The compared tools: how each is installed, which part runs beside the training, what else it offers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Entry(NamedTuple):
    """One row of the comparison; ``module`` is its file under ``peers/``, made with ``mode``."""

    key: str
    title: str
    module: str
    packages: tuple[str, ...]  # the report shows their versions
    mode: str = ""
    beside: str = "threads"  # what runs beside the training: "threads", "processes" or "server"
    more: str = ""  # what it offers beyond the others of this table

    @property
    def environment(self) -> str:
        """The name of its virtual environment; modes of one tool share it."""
        return self.module


OURS = Entry(
    "neural-tracking",
    "neural-tracking",
    "ours",
    ("neural-tracking",),
    beside="processes",
    more="one log for all ranks, delivery to several backends, a record of every lost event",
)
NOTHING = Entry("none", "no tracking", "none", (), more="the training loop alone")
_MLFLOW_MORE = "a model registry, a server that many people share, hundreds of integrations"

PEERS = (
    Entry(
        "wandb",
        "W&B, offline",
        "wandb_offline",
        ("wandb",),
        beside="processes",
        more="a hosted service with reports and sweeps, system metrics, all kinds of media",
    ),
    Entry("mlflow", "MLflow, SQLite", "mlflow_store", ("mlflow",), more=_MLFLOW_MORE),
    Entry("mlflow-async", "MLflow, SQLite, async", "mlflow_store", ("mlflow",), "async", more=_MLFLOW_MORE),
    Entry(
        "tensorboard",
        "TensorBoard writer",
        "tensorboard_writer",
        ("tensorboard",),
        more="histograms, graphs, embeddings and profiles; one small file to copy",
    ),
    Entry(
        "tensorboardx",
        "tensorboardX",
        "tensorboardx_writer",
        ("tensorboardX", "tensorboard"),
        more="TensorBoard's plugins without TensorFlow; one call for each scalar",
    ),
    Entry(
        "trackio",
        "Trackio",
        "trackio_local",
        ("trackio",),
        more="a dashboard that can be shared as a Hugging Face Space, the same calls as W&B",
    ),
    Entry(
        "swanlab",
        "SwanLab, offline",
        "swanlab_offline",
        ("swanlab",),
        more="a hosted service in Chinese and English, hardware monitoring",
    ),
    Entry(
        "aim", "Aim", "aim_repo", ("aim",), more="a query language over runs and images, a web page of its own"
    ),
)

# Only in the fault rows: what happens to the training when a team's server fails.
SERVERS = (
    Entry("mlflow-server", "MLflow, server", "mlflow_store", ("mlflow",), "server", "server", _MLFLOW_MORE),
    Entry(
        "mlflow-server-async",
        "MLflow, server, async",
        "mlflow_store",
        ("mlflow",),
        "server-async",
        "server",
        _MLFLOW_MORE,
    ),
)

ALL = (OURS, *PEERS, *SERVERS, NOTHING)
