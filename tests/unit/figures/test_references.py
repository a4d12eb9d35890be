"""Figures look as in their reviewed references.

After an intended change, write the references again and look at each of them before the commit:
``NTRACK_NEW_REFERENCES=1 python -m pytest tests/unit/figures/test_references.py``.
"""

import os
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.testing.compare import compare_images

from neural.tracking.figures.best import best_metrics
from neural.tracking.figures.comparison import compare_metric
from neural.tracking.figures.panels import plot_panels
from neural.tracking.figures.parameters import hyperparameters
from neural.tracking.figures.series import series_of, series_of_history
from neural.tracking.figures.style import figure_style
from neural.tracking.figures.visualizer import all_plots
from tests.unit.figures.made import ranked

REFERENCES = Path(__file__).parent / "references"
MADE_WITH = "3.11"  # other releases draw letters a little differently
DPI, TOLERANCE = 50, 3.0


def run():
    """Return a realistic training, without random numbers, which differ between versions of NumPy."""
    step = np.arange(600)
    noise = np.sin(step * 12.9898) * np.cos(step * 78.233)
    loss = 2.3 * np.exp(-step / 120) + 0.15 + 0.05 * noise
    val_loss = 2.4 * np.exp(-step / 130) + 0.25
    val_loss[200:260] = np.nan
    accuracy = 1 - 0.9 * np.exp(-step / 150)
    rate = np.where(step < 400, 1e-3, 1e-4)
    norm = 10.0 ** (1.5 * noise)
    columns = {"train/loss": loss, "val/loss": val_loss, "val/accuracy": accuracy, "lr": rate, "norm": norm}
    history = [{"step": int(s), **{name: float(v[s]) for name, v in columns.items()}} for s in step]
    history[300]["once"] = 3.25
    ranks = [accuracy + 0.02 * noise, accuracy, accuracy - 0.3 * (step > 300), accuracy - 0.02 * noise]
    return [*series_of_history(history), series_of(ranked("ranks", ranks, late_s=[0, 0, 0, 1.2]))]


def figures():
    found = {plot.name: plot.draw for plot in all_plots(run(), title="mnist · 1a2b3c4d")}
    parameters = [{"lr": 0.1, "optimizer.name": "sgd"}, {"lr": 0.01, "optimizer.name": "sgd", "seed": 1}]
    one, two = run()[0], run()[1]
    return {
        **found,
        "panels": lambda: plot_panels(run(), title="mnist · 1a2b3c4d"),
        "comparison": lambda: compare_metric("loss", [("first", one), ("second", two), ("none", None)]),
        "parameters": lambda: hyperparameters(parameters, ["first", "second"]),
        "best": lambda: best_metrics({"loss": [0.5, 0.2], "reward": [-3.0, None]}, ["first", "second"]),
    }


@pytest.mark.skipif(
    not matplotlib.__version__.startswith(MADE_WITH), reason=f"references are by matplotlib {MADE_WITH}"
)
@pytest.mark.parametrize("name", figures())
def test_figure_looks_as_reviewed(name, tmp_path):
    reference, made = REFERENCES / f"{name}.png", tmp_path / f"{name}.png"
    with figure_style():
        figures()[name]().savefig(made, dpi=DPI, pil_kwargs={"compress_level": 9})
    if os.environ.get("NTRACK_NEW_REFERENCES"):
        REFERENCES.mkdir(exist_ok=True)
        reference.write_bytes(made.read_bytes())

    assert compare_images(str(reference), str(made), TOLERANCE) is None
