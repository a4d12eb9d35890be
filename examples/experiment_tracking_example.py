"""Five short demonstrations: tracking, artifact versions, backends, comparison, plots.

    python examples/experiment_tracking_example.py [--base-dir DIR]

Each trains a small classifier in NumPy and prints what it stored and where. The demonstration of backends
uses those that are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from neural.tracking import ExperimentManager, ExperimentTracker, MetricVisualizer

Floats = npt.NDArray[np.float64]


def main() -> None:
    """Run the five demonstrations, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--base-dir",
        default=None,
        help="the folder of the runs; default: NTRACK_DIR, else ./neural_experiments",
    )
    base_dir = parser.parse_args().base_dir
    demonstrations = (basic_tracking, artifact_versions, backends, comparison, plots)
    for number, demonstration in enumerate(demonstrations, 1):
        title = (demonstration.__doc__ or "").splitlines()[0]
        print(f"\n{number}. {title}")
        demonstration(base_dir)


def basic_tracking(base_dir: str | None) -> None:
    """Basic experiment tracking: log parameters, metrics, a text and a figure; then read them."""
    tracker = ExperimentTracker(experiment_name="basic", base_dir=base_dir, tags=["example"])
    tracker.log_hyperparameters({"learning_rate": 0.5, "epochs": 60, "optimizer": {"name": "sgd"}})
    losses = []
    for epoch, (weights, metrics) in enumerate(training(learning_rate=0.5, epochs=60)):
        tracker.log_metrics(metrics, step=epoch)
        losses.append(metrics["train_loss"])
        if epoch == 30:
            tracker.log_text(
                "remark", f"after epoch 30 the norm of the weights is {np.linalg.norm(weights):.2f}"
            )
    tracker.log_figure(curve(losses), "training_curve.png")
    stored = tracker.finish()

    best, step = tracker.get_best_metric("accuracy", mode="max")
    print(f"   run {tracker.experiment_id} {tracker.status}, everything stored: {stored}")
    print(f"   best accuracy {best:.3f} at step {step}; {len(tracker.get_metrics('train_loss'))} losses")
    print(f"   {tracker.experiment_dir}")


def artifact_versions(base_dir: str | None) -> None:
    """Artifact versioning: every save overwrites one checkpoint file, and each becomes a version."""
    with tempfile.TemporaryDirectory() as folder, ExperimentTracker("versioned", base_dir) as tracker:
        checkpoint = Path(folder) / "checkpoint.npy"
        for epoch, (weights, metrics) in enumerate(training(learning_rate=0.5, epochs=25)):
            tracker.log_metrics(metrics, step=epoch)
            if epoch % 5 == 4:
                np.save(checkpoint, weights)
                tracker.log_model(str(checkpoint), framework="numpy", version=True)
        tracker.flush()
        for version in tracker.list_artifact_versions("checkpoint.npy"):
            print(f"   version {version.version}: {version.checksum[:16]}…, {version.size} bytes")
        second = tracker.get_artifact_version("checkpoint.npy", version=2)
        latest = tracker.get_artifact_version("checkpoint.npy", version=-1)
        if second is not None and latest is not None:
            distance = np.linalg.norm(np.load(latest.path) - np.load(second.path))
            print(f"   weights changed by {distance:.2f} between version 2 and version {latest.version}")


def backends(base_dir: str | None) -> None:
    """Backend integration: the same calls; other processes deliver the run to other trackers."""
    installed = [name for name in ("tensorboard", "mlflow") if importlib.util.find_spec(name)]
    wanted = ["jsonl", *installed]
    print(f"   delivering to {', '.join(wanted)}")
    with ExperimentTracker("backends", base_dir, backend=wanted) as tracker:
        tracker.log_hyperparameters({"learning_rate": 0.5})
        for epoch, (_, metrics) in enumerate(training(learning_rate=0.5, epochs=30)):
            tracker.log_metrics(metrics, step=epoch)
    print(f"   `ntrack sinks ls -d {tracker.base_dir}` shows the progress of each,")
    print(f"   `ntrack runs show {tracker.experiment_id} -d {tracker.base_dir}` the link to the run in each")


def comparison(base_dir: str | None) -> None:
    """Experiment comparison: three learning rates, as figures and as a page for others."""
    manager = ExperimentManager(base_dir)
    ids = []
    for rate in (0.05, 0.5, 2.0):
        with manager.create_experiment(f"rate_{rate}", auto_visualize=False) as tracker:
            tracker.log_hyperparameters({"learning_rate": rate, "epochs": 40})
            for epoch, (_, metrics) in enumerate(training(learning_rate=rate, epochs=40)):
                tracker.log_metrics(metrics, step=epoch)
        ids.append(tracker.experiment_id)
    for experiment in manager.list_experiments()[:3]:
        print(f"   {experiment['experiment_name']} - {experiment['status']}")
    figures = manager.compare_experiments(ids)
    folder = manager.export_comparison(ids)
    print(f"   figures: {', '.join(figures)}")
    print(f"   exported: {folder / 'comparison.html'}")


def plots(base_dir: str | None) -> None:
    """Visualization: automatic plots, plots on request, and figures in memory."""
    with ExperimentTracker("plotted", base_dir, auto_visualize=True, visualize_every=10) as tracker:
        for epoch, (_, metrics) in enumerate(training(learning_rate=0.5, epochs=100)):
            tracker.log_metrics(metrics, step=epoch)
    saved = tracker.generate_visualizations()
    print(f"   on request: {', '.join(path.name for path in saved.values())}")
    print(f"   automatic: auto_*.png in the same folder, {tracker.experiment_dir / 'plots'}")
    figures = MetricVisualizer.create_distribution_plots(tracker.metrics_history, figsize=(12, 6))
    print(f"   in memory: {', '.join(figures)}")


def training(*, learning_rate: float, epochs: int) -> Iterator[tuple[Floats, dict[str, float]]]:
    """Train a logistic regression on two noisy clusters; yield weights and metrics after each epoch."""
    random = np.random.default_rng(7)
    labels = (np.arange(800) % 2).astype(np.float64)
    points = random.standard_normal((800, 8)) + np.outer(
        labels - 0.5, np.array([0.2, 0.2, 0.4, 0.4, 0.8, 0.8, 1.2, 1.2])
    )
    seen, held_out = slice(0, 600), slice(600, 800)
    weights = np.zeros(8)
    for _ in range(epochs):
        wrong = predictions(points[seen], weights) - labels[seen]
        weights = weights - learning_rate * points[seen].T @ wrong / 600
        right = (predictions(points[held_out], weights) > 0.5) == (labels[held_out] > 0.5)
        yield (
            weights,
            {
                "train_loss": cross_entropy(points[seen], labels[seen], weights),
                "val_loss": cross_entropy(points[held_out], labels[held_out], weights),
                "accuracy": float(right.mean()),
            },
        )


def predictions(points: Floats, weights: Floats) -> Floats:
    """Return the probability of label 1 for each point."""
    return 1.0 / (1.0 + np.exp(-points @ weights))


def cross_entropy(points: Floats, labels: Floats, weights: Floats) -> float:
    """Return the mean cross entropy of the predictions."""
    predicted = np.clip(predictions(points, weights), 1e-12, 1 - 1e-12)
    return float(-np.mean(labels * np.log(predicted) + (1 - labels) * np.log(1 - predicted)))


def curve(losses: list[float]) -> Figure:
    """Return a figure of the loss over the epochs."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="training loss")
    axes.plot(losses)
    return figure


if __name__ == "__main__":
    main()
