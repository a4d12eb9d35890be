"""What the demo keeps of its model: a checkpoint an epoch, and at the end what it confuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from model import Perceptron

from neural.tracking import ExperimentTracker

Labels = npt.NDArray[np.int64]


class Checkpoints:
    """Saves the weights to one path again and again, as trainings do; each becomes a version of its own.

    All ranks hold the same weights and log them under one name: the same bytes are stored once.
    """

    def __init__(self, tracker: ExperimentTracker, folder: Path) -> None:
        self._tracker = tracker
        self._path = folder / "weights.npy"
        self._best = 0.0

    def save(self, model: Perceptron, epoch: int, accuracy: float) -> None:
        """Keep the weights as they are now; the best so far get the alias ``best``."""
        np.save(self._path, model.weights)
        alias = "best" if accuracy > self._best else ()
        self._best = max(self._best, accuracy)
        told = {"epoch": epoch, "test_accuracy": accuracy}
        self._tracker.log_model(self._path, framework="numpy", alias=alias, metadata=told)


def log_confusion(
    tracker: ExperimentTracker, model: Perceptron, images: npt.NDArray[np.float64], labels: Labels
) -> None:
    """Keep a picture of which digits the model takes for which."""
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
    axes.set(xticks=range(10), yticks=range(10), xlabel="taken for", ylabel="is", title="Test digits")
    tracker.log_figure(figure, "confusion.png")
