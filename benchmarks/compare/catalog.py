"""Who is compared: how each tool is installed, what of it runs beside the training, what else it does."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Entry(NamedTuple):
    """One row of the comparison; ``module`` is its file under ``peers/``, made with ``mode``."""

    key: str
    title: str
    module: str
    packages: tuple[str, ...]  # the first is the one whose version is told
    mode: str = ""
    beside: str = "threads"  # what works beside the training: "threads", "processes" or "server"
    more: str = ""  # what it does that the others of this table do not, or do less of

    @property
    def environment(self) -> str:
        """The virtual environment it runs in; modes of one tool share it."""
        return self.module


OURS = Entry(
    "neural-tracking",
    "neural-tracking",
    "ours",
    ("neural-tracking",),
    beside="processes",
    more="one log for all ranks, delivery to several backends, an account of every event",
)
NOTHING = Entry("none", "no tracking", "none", (), more="the training loop alone")
_MLFLOW_MORE = "a model registry, a server many people share, hundreds of integrations"

PEERS = (
    Entry(
        "wandb",
        "W&B, offline",
        "wandb_offline",
        ("wandb",),
        beside="processes",
        more="a hosted service with reports and sweeps, system metrics, media of all kinds",
    ),
    Entry("mlflow", "MLflow, SQLite", "mlflow_store", ("mlflow",), more=_MLFLOW_MORE),
    Entry("mlflow-async", "MLflow, SQLite, async", "mlflow_store", ("mlflow",), "async", more=_MLFLOW_MORE),
    Entry(
        "tensorboard",
        "TensorBoard writer",
        "tensorboard_writer",
        ("tensorboard",),
        more="histograms, graphs, embeddings and profiles beside scalars, one small file to copy",
    ),
    Entry(
        "tensorboardx",
        "tensorboardX",
        "tensorboardx_writer",
        ("tensorboardX", "tensorboard"),
        more="TensorBoard's plugins without TensorFlow; one call a scalar",
    ),
    Entry(
        "trackio",
        "Trackio",
        "trackio_local",
        ("trackio",),
        more="a dashboard that is shared as a Hugging Face Space, W&B's call names",
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

# Only in the fault rows: what a team's server going away does to the training.
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
