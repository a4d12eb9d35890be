"""Uses all public names as a user does; ``make types`` checks it strictly, and nothing runs it.

It asserts the types of the results, so that none becomes Any unnoticed.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from matplotlib.figure import Figure

import neural.tracking
from neural.tracking import (
    ArtifactVersion,
    ExperimentComparisonUI,
    ExperimentManager,
    ExperimentTracker,
    MetricVisualizer,
    TrackingError,
    launch_comparison_ui,
)
from neural.tracking.experiment_tracker import ExperimentManager as SameManager
from neural.tracking.experiment_tracker import ExperimentTracker as SameTracker
from neural.tracking.integrations import BaseIntegration, WandbIntegration, create_integration


@dataclass
class Settings:
    learning_rate: float = 0.1


def make_runs() -> ExperimentTracker:
    ExperimentTracker()
    ExperimentTracker("name", "runs", False, "mlflow")
    ExperimentTracker(
        experiment_name="name", base_dir=Path("runs"), auto_visualize=True, backend=["mlflow", "wandb"]
    )
    ExperimentTracker("name", tags="one", notes="text", group="sweep", mode="offline", when_full="block")
    return ExperimentTracker("name", tags=["one", "two"])


def log(tracker: ExperimentTracker) -> None:
    assert_type(tracker.log_hyperparameters({"lr": 0.1, "layers": {"width": [1, 2]}}), bool)
    tracker.log_hyperparameters(argparse.Namespace(lr=0.1))
    tracker.log_hyperparameters(Settings())
    assert_type(tracker.log_metrics({"loss": 0.5, "hits": 3, "good": True}), bool)
    tracker.log_metrics({"loss": np.float32(0.5), "nested": {"loss": np.array(0.5)}}, step=3)
    assert_type(tracker.log_text("sample", "a text", step=3), bool)
    assert_type(tracker.add_tags("three", ["four"]), bool)
    tracker.notes = "better notes"


def keep(tracker: ExperimentTracker, figure: Figure) -> None:
    assert_type(tracker.log_artifact("model.pt"), ArtifactVersion)
    tracker.log_artifact("model.pt", "name", False)
    tracker.log_artifact(artifact_path=Path("folder"), artifact_name="weights", alias="best", metadata={"a": 1})
    tracker.log_artifact("s3://bucket/data", reference=True)
    tracker.log_artifact("model.pt", move=True, alias=["best", "stable"])
    assert_type(tracker.log_model("model.pt", framework="pytorch", version=True), ArtifactVersion)
    tracker.log_model(model_path="model.pt", snapshot=False)
    assert_type(tracker.log_figure(figure, "curve.png"), ArtifactVersion)
    tracker.log_figure(figure, figure_name="curve")
    assert_type(tracker.list_artifact_versions("model.pt"), list[ArtifactVersion])
    found = tracker.get_artifact_version("model.pt", version=-1)
    assert_type(found, ArtifactVersion | None)
    tracker.get_artifact_version("model.pt", "best")
    assert_type(tracker.artifacts, dict[str, Any])
    if found is not None:
        assert_type(found.artifact_name, str)
        assert_type(found.version, int | None)
        assert_type(found.path, Path | None)
        assert_type(found.checksum, str | None)
        assert_type(found.size, int)
        assert_type(found.timestamp, str)
        assert_type(found.metadata, dict[str, Any])
        assert_type(found.to_dict(), dict[str, Any])
        assert_type(found.wait(timeout=3), bool)
        assert_type(found.verify(), bool)
        assert_type(found.copy_to("elsewhere"), Path)


def read(tracker: ExperimentTracker) -> None:
    assert_type(tracker.experiment_name, str)
    assert_type(tracker.experiment_id, str)
    assert_type(tracker.experiment_dir, Path)
    assert_type(tracker.base_dir, Path)
    assert_type(tracker.status, str)
    assert_type(tracker.metadata, dict[str, Any])
    assert_type(tracker.hyperparameters, dict[str, Any])
    assert_type(tracker.metrics_history, list[dict[str, Any]])
    assert_type(tracker.summary, dict[str, Any])
    assert_type(tracker.tags, list[str])
    assert_type(tracker.notes, str | None)
    assert_type(tracker.group, str | None)
    tracker.get_metrics()
    tracker.get_metrics("loss")
    tracker.get_metrics(metric_name="loss", ranks="all")
    tracker.get_metrics(name="loss", ranks=2)
    best, step = tracker.get_best_metric("loss", mode="min")
    assert_type(best, float | None)
    assert_type(step, int | None)
    assert_type(tracker.plot_metrics(), Figure)
    tracker.plot_metrics(["loss", "hits"], figsize=(12, 4))
    tracker.plot_metrics(metric_names="loss")
    assert_type(tracker.generate_visualizations(), dict[str, Path])
    assert_type(
        MetricVisualizer.create_metric_plots(tracker.metrics_history, figsize=(15, 10)), dict[str, Figure]
    )
    assert_type(MetricVisualizer.create_distribution_plots(tracker.metrics_history), dict[str, Figure])
    assert_type(tracker.save_experiment_summary(), Path)


def end(tracker: ExperimentTracker) -> None:
    assert_type(tracker.flush(), bool)
    tracker.flush(timeout=1)
    assert_type(tracker.finish(), bool)
    tracker.finish(status="failed", timeout=1.5)
    with ExperimentTracker("in a block") as inside:
        assert_type(inside, ExperimentTracker)
        inside.log_metrics({"loss": 1.0})


def manage(manager: ExperimentManager) -> None:
    ExperimentManager()
    ExperimentManager("runs")
    ExperimentManager(base_dir=Path("runs"))
    assert_type(manager.create_experiment("name"), ExperimentTracker)
    manager.create_experiment(
        "name", auto_visualize=False, backend="wandb", tags=["one"], notes="text", group="g"
    )
    assert_type(manager.get_experiment("12345678"), ExperimentTracker | None)
    assert_type(manager.list_experiments(), list[dict[str, Any]])
    assert_type(manager.delete_experiment("12345678"), bool)
    assert_type(manager.compare_experiments(["12345678"], metrics=["loss"]), dict[str, Figure])
    assert_type(manager.export_comparison(["12345678"], output_dir="report"), Path)


def look(manager: ExperimentManager) -> None:
    ui = ExperimentComparisonUI(manager, port=8052)
    assert_type(ui.port, int)
    ui.run(debug=False, host="127.0.0.1")
    ui.run(host="0.0.0.0", token_file=Path("token"))
    launch_comparison_ui(port=8052)
    launch_comparison_ui(8052, "runs", debug=False, host="127.0.0.1")


def the_same_by_their_other_names(tracker: SameTracker, manager: SameManager) -> None:
    read(tracker)
    manage(manager)


def without_a_tracker() -> None:
    with create_integration("mlflow", "name", tracking_uri="http://127.0.0.1:5000") as run:
        assert_type(run, BaseIntegration)
        run.log_hyperparameters({"lr": 0.1})
        run.log_metrics({"loss": 0.5}, step=1)
        run.log_artifact("model.pt")
        run.log_model(Path("model.pt"), framework="pytorch")
        assert_type(run.link, str | None)
    WandbIntegration("name", mode="offline").finish("failed")


def misuse(tracker: ExperimentTracker) -> None:
    try:
        tracker.log_metrics([("loss", 0.5)])  # type: ignore[arg-type] # a list is no mapping
        tracker.get_best_metric("loss", mode="middle")  # type: ignore[arg-type] # no such mode
        tracker.experiment_id = "12345678"  # type: ignore[misc] # given, not chosen
    except TrackingError as error:
        assert_type(error, TrackingError)
    assert_type(neural.tracking.__version__, str)
