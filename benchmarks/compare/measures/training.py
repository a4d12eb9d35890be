"""The demo's real training loop in one process, with and without tracking: steps a second."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from catalog import ROOT

from measures import MAX_FINISH_S, ended

MODEL = ROOT / "examples" / "digits"
SEED = 7


def plan(quick: bool) -> list[dict[str, Any]]:
    """Return the options of the trials of one round."""
    return [{"steps": 300 if quick else 2_000}]


def drive(trial: Any, options: dict[str, Any], quick: bool) -> dict[str, Any]:
    """Run one trial on the digits of scikit-learn; a file has them, for environments without scikit-learn."""
    trial.start("training", {**options, "digits": str(digits())})
    trial.wait_finished(MAX_FINISH_S)
    return dict(trial.result())


def digits() -> Path:
    """Return the file with images and labels; create it if it is missing."""
    path = ROOT / ".compare" / "digits.npz"
    if not path.exists():
        import numpy as np
        from sklearn.datasets import load_digits

        found = load_digits()
        path.parent.mkdir(exist_ok=True)
        np.savez(path, images=found.data / 16 - 0.5, labels=found.target)
    return path


def trial(peer: Any, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Train in the training process; the first tenth of the steps is not timed."""
    import numpy as np

    sys.path.insert(0, str(MODEL))
    from model import Perceptron, Settings

    settings = Settings()
    with np.load(options["digits"]) as saved:
        images, labels = saved["images"], saved["labels"]
    model = Perceptron(images.shape[1], settings.hidden, 10, np.random.default_rng(SEED))
    random = np.random.default_rng(SEED)
    velocity = np.zeros_like(model.weights)
    peer.load()
    log = peer.start(folder / "data")
    begun = loss = accuracy = 0.0
    for step in range(options["steps"]):
        if step == options["steps"] // 10:
            begun = time.perf_counter()
        batch = random.integers(0, len(images), settings.batch_size)
        share = images[batch]
        blurred = share + settings.noise * random.standard_normal(share.shape)
        loss, accuracy, gradient = model.loss_and_gradient(blurred, labels[batch])
        velocity = settings.momentum * velocity - settings.learning_rate * (
            gradient + settings.weight_decay * model.weights
        )
        model.weights += velocity
        log({"train/loss": loss, "train/accuracy": accuracy, "learning_rate": settings.learning_rate}, step)
    took = time.perf_counter() - begun
    return ended(peer, folder, {"steps_a_second": options["steps"] * 0.9 / took, "accuracy": accuracy})
