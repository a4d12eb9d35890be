"""Trains a digit classifier as two data-parallel processes that log into one run.

    python examples/digits/train.py [--epochs N] [--ranks N]

Each process computes its share of every batch, and the processes average their gradients. All log with the
same code: there is no ``if rank == 0``. The collector starts automatically. It delivers the run to JSONL files,
and to TensorBoard and MLflow if they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).parent))

from checkpoints import Checkpoints, log_confusion
from model import Perceptron, Settings
from parallel import Ring
from show import follow, show_run

from neural.tracking import ExperimentTracker

HELD_OUT = 360


def train(rank: int, settings: Settings, base_dir: str, ring: Ring, news: Connection) -> None:
    """Train with one rank's share of the data; the same code runs in every process."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(ring.ranks))  # as torchrun sets them
    images, labels, test_images, test_labels = load_data(settings.seed)
    model = Perceptron(images.shape[1], settings.hidden, 10, np.random.default_rng(settings.seed))
    shuffle = np.random.default_rng(settings.seed)  # the same order in every rank
    noise = np.random.default_rng([settings.seed, rank])
    velocity = np.zeros_like(model.weights)
    mine = slice(rank, None, ring.ranks)

    with (
        tempfile.TemporaryDirectory() as scratch,
        ExperimentTracker("digits", base_dir=base_dir, tags=["demo"], backend=backends()) as tracker,
    ):
        tracker.log_hyperparameters(settings)
        checkpoints = Checkpoints(tracker, Path(scratch))
        news.send(("run", rank, tracker.experiment_id))
        step = 0
        for epoch in range(settings.epochs):
            rate = settings.learning_rate * (1 + np.cos(np.pi * epoch / settings.epochs)) / 2
            order = shuffle.permutation(len(images))
            for batch in np.array_split(order, len(order) // settings.batch_size):
                share = images[batch[mine]]
                blurred = share + settings.noise * noise.standard_normal(share.shape)
                loss, accuracy, gradient = model.loss_and_gradient(blurred, labels[batch[mine]])
                gradient = ring.average(rank, gradient) + settings.weight_decay * model.weights
                velocity = settings.momentum * velocity - rate * gradient
                model.weights += velocity
                tracker.log_metrics(
                    {"train/loss": loss, "train/accuracy": accuracy, "learning_rate": rate}, step=step
                )
                step += 1
            test_loss, test_accuracy = model.loss_and_accuracy(test_images[mine], test_labels[mine])
            tracker.log_metrics({"test/loss": test_loss, "test/accuracy": test_accuracy}, step=step)
            checkpoints.save(model, epoch, test_accuracy)
            news.send(("epoch", rank, epoch + 1, test_loss, test_accuracy))
        log_confusion(tracker, model, test_images, test_labels)
    news.send(("done", rank))


def backends() -> list[str]:
    """Return the sinks that are installed here."""
    return ["jsonl", *(name for name in ("tensorboard", "mlflow") if importlib.util.find_spec(name))]


def load_data(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the training images and labels, then the test images and labels."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.data))
    images, labels = digits.data[order] / 16 - 0.5, digits.target[order]
    return images[HELD_OUT:], labels[HELD_OUT:], images[:HELD_OUT], labels[:HELD_OUT]


def run_rank(rank: int, settings: Settings, base_dir: str, ring: Ring, news: Connection) -> None:
    """Train; if this rank fails, let the others fail, too."""
    try:
        train(rank, settings, base_dir, ring, news)
    except BaseException:
        ring.abort()
        raise


def main() -> int:
    """Start the ranks, show their progress, then show the stored run; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=Settings.epochs)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--base-dir", default=os.environ.get("NTRACK_DIR") or "neural_experiments")
    given = parser.parse_args()
    settings = Settings(epochs=given.epochs)

    # One thread of linear algebra for each process: with small matrices, more threads are slower.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    context = multiprocessing.get_context("spawn")
    width = Perceptron(64, settings.hidden, 10, np.random.default_rng(0)).weights.size
    ring = Ring(context, given.ranks, width)
    receivers, processes = [], []
    for rank in range(given.ranks):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=run_rank, args=(rank, settings, given.base_dir, ring, sender))
        process.start()
        sender.close()  # otherwise the receiver does not notice that the child has ended
        receivers.append(receiver)
        processes.append(process)
    experiment_id = follow(receivers, settings.epochs)
    for process in processes:
        process.join()
    if experiment_id is None or any(process.exitcode for process in processes):
        print("a training process failed; its traceback is above", file=sys.stderr)
        return 1
    return show_run(given.base_dir, experiment_id, checkpoints=given.ranks * settings.epochs)


if __name__ == "__main__":
    sys.exit(main())
