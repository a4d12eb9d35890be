"""A two-layer perceptron in NumPy, with hand-written gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """The settings of the training, which are logged as the run's hyperparameters."""

    hidden: int = 128
    epochs: int = 120
    batch_size: int = 64
    learning_rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-4
    noise: float = 0.15
    seed: int = 7


class Perceptron:
    """The model. Its parameters are one flat vector, so that ranks average all gradients in one call."""

    def __init__(self, inputs: int, hidden: int, classes: int, rng: np.random.Generator) -> None:
        self._shapes = [(inputs, hidden), (hidden,), (hidden, classes), (classes,)]
        self.weights = np.concatenate(
            [
                (rng.standard_normal(shape) * np.sqrt(2 / shape[0]) if len(shape) == 2 else np.zeros(shape))
                .ravel()
                for shape in self._shapes
            ]
        )  # fmt: skip

    def loss_and_gradient(self, images: Array, labels: npt.NDArray[np.int64]) -> tuple[float, float, Array]:
        """Return cross entropy, accuracy and the flat gradient on one batch."""
        w1, b1, w2, b2 = self._parts(self.weights)
        hidden = np.maximum(images @ w1 + b1, 0)
        probabilities = _softmax(hidden @ w2 + b2)
        rows = np.arange(len(labels))
        loss = -np.log(probabilities[rows, labels] + 1e-12).mean()
        accuracy = (probabilities.argmax(axis=1) == labels).mean()

        slope = probabilities
        slope[rows, labels] -= 1
        slope /= len(labels)
        back = (slope @ w2.T) * (hidden > 0)
        parts = [images.T @ back, back.sum(axis=0), hidden.T @ slope, slope.sum(axis=0)]
        return float(loss), float(accuracy), np.concatenate([part.ravel() for part in parts])

    def loss_and_accuracy(self, images: Array, labels: npt.NDArray[np.int64]) -> tuple[float, float]:
        """Return cross entropy and accuracy without a gradient."""
        loss, accuracy, _ = self.loss_and_gradient(images, labels)
        return loss, accuracy

    def predict(self, images: Array) -> npt.NDArray[np.int64]:
        """Return the most likely class of each image."""
        w1, b1, w2, b2 = self._parts(self.weights)
        return (np.maximum(images @ w1 + b1, 0) @ w2 + b2).argmax(axis=1)

    def _parts(self, flat: Array) -> list[Array]:
        ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(flat, ends), self._shapes, strict=True)]


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Array = powers / powers.sum(axis=1, keepdims=True)
    return result
