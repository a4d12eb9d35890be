"""What the demo stores of its model: a checkpoint for each epoch, and at the end a confusion matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from model import Perceptron

from neural.tracking import ExperimentTracker

Labels = npt.NDArray[np.int64]


class Checkpoints:
    """Saves the weights to the same path every time, as many trainings do; each save becomes a version.

    All ranks have the same weights and log them under one name: the same bytes are stored once.
    """

    def __init__(self, tracker: ExperimentTracker, folder: Path) -> None:
        self._tracker = tracker
        self._path = folder / "weights.npy"
        self._best = 0.0

    def save(self, model: Perceptron, epoch: int, accuracy: float) -> None:
        """Store the current weights; the best ones so far get the alias ``best``."""
        np.save(self._path, model.weights)
        alias = "best" if accuracy > self._best else ()
        self._best = max(self._best, accuracy)
        metadata = {"epoch": epoch, "test_accuracy": accuracy}
        self._tracker.log_model(self._path, framework="numpy", alias=alias, metadata=metadata)


def log_confusion(
    tracker: ExperimentTracker, model: Perceptron, images: npt.NDArray[np.float64], labels: Labels
) -> None:
    """Log the confusion matrix of the test digits as a figure."""
    from matplotlib.figure import Figure

    table = np.zeros((10, 10), int)
    np.add.at(table, (labels, model.predict(images)), 1)
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.sqrt(table), cmap="Blues")
    for (row, column), count in np.ndenumerate(table):
        if count:
            dark = count > table.max() / 3
            axes.text(column, row, str(count), ha="center", va="center", color="white" if dark else "black")
    axes.set(xticks=range(10), yticks=range(10), xlabel="predicted", ylabel="actual", title="Test digits")
    tracker.log_figure(figure, "confusion.png")
