"""The promises of a tracker to its user, with a real collector."""

import argparse
import dataclasses
import math
import re

import matplotlib.figure
import numpy as np
import pytest

from neural.tracking import ConfigError, ExperimentTracker, InvalidNameError, TrackingError
from neural.tracking.experiment_tracker import ExperimentManager as SameManager
from neural.tracking.experiment_tracker import ExperimentTracker as SameTracker
from neural.tracking.manager import ExperimentManager


@pytest.fixture
def tracker(shared_base):
    made = ExperimentTracker("probe", shared_base)
    yield made
    made.finish()


def test_folder_is_there_when_the_constructor_returns(tracker):
    assert re.fullmatch("[0-9a-f]{8}", tracker.experiment_id)
    assert tracker.experiment_dir.name == f"probe_{tracker.experiment_id}"
    assert (tracker.experiment_dir / "run.json").is_file()


def test_attributes_tell_what_was_given(tracker, shared_base):
    assert tracker.experiment_name == "probe"
    assert tracker.base_dir == shared_base
    assert "probe" in repr(tracker)


def test_texts_are_read_back_in_order_with_their_steps(tracker):
    tracker.log_text("sample", "first", step=3)
    tracker.log_text("remark", "in between")
    tracker.log_text("sample", "second", step=7)

    texts = tracker.get_texts("sample")

    assert [(text["step"], text["text"]) for text in texts] == [(3, "first"), (7, "second")]
    assert set(texts[0]) == {"timestamp", "step", "name", "text", "rank"}
    assert [text["name"] for text in tracker.get_texts()] == ["sample", "remark", "sample"]


def test_texts_that_no_collector_has_yet_are_read_back_too(tmp_path):
    tracker = ExperimentTracker("probe", tmp_path, mode="offline")
    tracker.log_text("sample", "in the outbox", step=1)

    assert [text["text"] for text in tracker.get_texts("sample")] == ["in the outbox"]
    tracker.finish()
    assert [text["text"] for text in tracker.get_texts()] == ["in the outbox"]


def test_metric_named_like_a_calls_own_fields_does_not_replace_them(tracker):
    tracker.log_metrics({"step": 100.0, "timestamp": 5.0, "loss": 1.0}, step=3)

    (call,) = tracker.metrics_history

    assert (call["step"], call["loss"]) == (3, 1.0)
    assert call["timestamp"].endswith("Z")
    assert tracker.get_metrics("step") == [100.0]
    assert tracker.get_metrics("timestamp") == [5.0]


def test_name_has_a_default(shared_base):
    with ExperimentTracker(base_dir=shared_base) as tracker:
        assert tracker.experiment_name == "experiment"


def test_one_module_has_the_classes():
    assert SameTracker is ExperimentTracker
    assert SameManager is ExperimentManager


def test_status_goes_from_created_to_running_to_completed(tracker):
    seen = [tracker.status]
    tracker.log_metrics({"loss": 1.0})
    seen.append(tracker.status)
    tracker.finish()
    seen.append(tracker.status)

    assert seen == ["created", "running", "completed"]


def test_status_can_end_failed(tracker):
    tracker.finish(status="failed")

    assert tracker.status == "failed"


def test_unknown_status_is_refused(tracker):
    with pytest.raises(ConfigError, match="completed or failed"):
        tracker.finish(status="done")


def test_finish_returns_whether_all_is_stored(tracker):
    tracker.log_metrics({"loss": 1.0})

    assert tracker.finish(timeout=120) is True
    assert tracker.finish() is True


def test_flush_makes_everything_visible_to_every_reader(tracker, shared_base):
    for step in range(500):
        tracker.log_metrics({"loss": step}, step=step)

    assert tracker.flush(timeout=120) is True

    other = ExperimentManager(shared_base).get_experiment(tracker.experiment_id)
    assert other.get_metrics("loss") == list(range(500))


def test_logging_after_the_end_is_misuse(tracker):
    tracker.finish()

    for log in (
        lambda: tracker.log_metrics({"loss": 1.0}),
        lambda: tracker.log_hyperparameters({"a": 1}),
        lambda: tracker.log_text("a", "b"),
    ):
        with pytest.raises(TrackingError, match="finished"):
            log()


def test_first_default_step_is_zero_and_counts_calls_that_log_something(tracker):
    tracker.log_metrics({"a": 1.0})
    tracker.log_metrics({})
    tracker.log_metrics({"b": 2.0})

    assert [entry["step"] for entry in tracker.metrics_history] == [0, 1]


def test_nested_metrics_flatten_and_bools_become_numbers(tracker):
    tracker.log_metrics({"train": {"loss": 0.5, "ok": True}}, step=3)

    (entry,) = tracker.get_metrics()
    assert entry.keys() == {"timestamp", "step", "train/loss", "train/ok"}
    assert (entry["step"], entry["train/loss"], entry["train/ok"]) == (3, 0.5, 1.0)


def test_values_come_in_the_order_logged(tracker):
    for step, value in [(5, 1.0), (2, 2.0), (5, 3.0)]:
        tracker.log_metrics({"loss": value}, step=step)

    assert tracker.get_metrics("loss") == [1.0, 2.0, 3.0]
    assert tracker.get_metrics(metric_name="loss") == tracker.get_metrics(name="loss")


def test_metric_that_was_never_logged_is_empty(tracker):
    assert tracker.get_metrics("nothing") == []
    assert tracker.get_best_metric("nothing") == (None, None)


def test_best_metric_is_the_first_best_and_never_nan(tracker):
    for step, value in enumerate([float("nan"), 0.5, 0.9, 0.9, 0.1]):
        tracker.log_metrics({"accuracy": value}, step=step)

    assert tracker.get_best_metric("accuracy") == (0.9, 2)
    assert tracker.get_best_metric(metric_name="accuracy", mode="min") == (0.1, 4)
    assert tracker.get_best_metric(name="accuracy") == (0.9, 2)


def test_best_is_told_by_the_mode_alone_and_never_guessed_from_the_name(tracker):
    for step, value in enumerate([0.5, 0.9, 0.1]):
        tracker.log_metrics({"val/loss": value, "val/dice": value, "val/own": value}, step=step)

    for name in ("val/loss", "val/dice", "val/own"):
        assert tracker.get_best_metric(name) == (0.9, 1)
        assert tracker.get_best_metric(name, mode="min") == (0.1, 2)


def test_only_nan_has_no_best(tracker):
    tracker.log_metrics({"loss": math.nan})

    assert tracker.get_best_metric("loss") == (None, None)


def test_best_of_an_unknown_mode_is_refused(tracker):
    with pytest.raises(ValueError, match="mode"):
        tracker.get_best_metric("loss", mode="best")


@dataclasses.dataclass
class Settings:
    depth: int = 3


def test_parameters_merge_and_keep_their_kinds(tracker):
    tracker.log_hyperparameters({"optimizer": {"name": "adam", "rate": np.float32(0.5)}})
    tracker.log_hyperparameters(argparse.Namespace(batch=np.int64(32)))
    tracker.log_hyperparameters(Settings())
    tracker.log_hyperparameters({"optimizer": {"rate": 0.25}, "device": object})

    assert tracker.hyperparameters == {
        "optimizer": {"name": "adam", "rate": 0.25},
        "batch": 32,
        "depth": 3,
        "device": "<class 'object'>",
    }
    assert tracker.metadata["hyperparameters_as_text"] == ["device"]


def test_every_change_of_a_parameter_is_kept(tracker, shared_base):
    tracker.log_hyperparameters({"rate": 0.1})
    tracker.log_hyperparameters({"rate": 0.2})
    tracker.flush(120)

    from neural.tracking.reader.run import Run

    assert [call["values"]["rate"] for call in Run(tracker.experiment_dir).params_history] == [0.1, 0.2]


def test_text_is_stored_with_its_step(tracker):
    tracker.log_text("sample", "once upon a time", step=7)
    tracker.flush(120)

    from neural.tracking.reader.run import Run

    (text,) = Run(tracker.experiment_dir).texts("sample")
    assert (text["text"], text["step"]) == ("once upon a time", 7)


@pytest.mark.parametrize("text", [3, None, b"bytes"])
def test_text_must_be_text(tracker, text):
    with pytest.raises(TypeError, match="sample"):
        tracker.log_text("sample", text)


def test_tags_notes_and_group_are_kept(shared_base):
    with ExperimentTracker("labels", shared_base, tags=["a"], notes="first", group="g") as tracker:
        tracker.add_tags("b", ["c", "a"])
        tracker.notes = "second"

        assert tracker.tags == ["a", "b", "c"]
        assert tracker.notes == "second"
        assert tracker.group == "g"


def test_metadata_says_where_it_ran(tracker):
    tracker.flush(120)

    def gathered():
        return tracker.metadata if "python" in tracker.metadata else None

    from tests.patience import wait_until

    metadata = wait_until(gathered)
    assert metadata.keys() >= {"command", "cwd", "host", "python", "packages", "git"}
    assert metadata["packages"]["numpy"] == np.__version__


def test_settings_of_later_parts_are_kept_in_the_run(shared_base):
    with ExperimentTracker(
        "kept", shared_base, auto_visualize=False, backend=["mlflow"], visualize_every=5
    ) as tracker:
        settings = tracker.metadata["settings"]

    settings.pop("env")  # the variables of the training that backends read
    assert settings == {"auto_visualize": False, "visualize_every": 5, "backend": ["mlflow"]}


def test_plot_is_a_figure_of_the_metrics_asked_for(tracker):
    for step in range(10):
        tracker.log_metrics({"train_loss": 1 / (step + 1), "val_loss": 1.0, "rate": 0.1}, step=step)

    both = tracker.plot_metrics(["train_loss", "val_loss"], figsize=(5, 4))
    all_of_them = tracker.plot_metrics()

    assert isinstance(both, matplotlib.figure.Figure)
    assert both.get_size_inches().tolist() == [5, 4]
    assert [axes.get_title(loc="left") for axes in both.axes if axes.axison] == ["loss"]
    assert len([axes for axes in all_of_them.axes if axes.axison]) == 2
    assert tracker.plot_metrics(metric_names="rate").axes[0].lines[0].get_ydata().tolist() == [0.1] * 10


def test_plot_of_a_metric_that_is_not_there_names_it(tracker):
    with pytest.raises(KeyError, match="nothing"):
        tracker.plot_metrics(["nothing"])


def test_plot_of_nothing_is_a_figure_too(tracker):
    assert isinstance(tracker.plot_metrics(), matplotlib.figure.Figure)


def test_summary_tells_each_metric_s_last_and_extremes(tracker):
    for value in (3.0, 1.0, 2.0):
        tracker.log_metrics({"loss": value})

    loss = tracker.summary["metrics"]["loss"]
    assert (loss["last"], loss["min"], loss["max"], loss["count"]) == (2.0, 1.0, 3.0, 3)


def test_summary_is_saved_where_it_says(tracker):
    tracker.log_metrics({"loss": math.inf})

    path = tracker.save_experiment_summary()

    assert path == tracker.experiment_dir / "summary.json"
    assert '"Infinity"' in path.read_text()
    assert '"Infinity"' in (tracker.experiment_dir / "metrics.json").read_text()


def test_context_manager_completes_the_run(shared_base):
    with ExperimentTracker("managed", shared_base) as tracker:
        tracker.log_metrics({"loss": 1.0})

    assert tracker.status == "completed"


def test_exception_in_the_context_fails_the_run_with_its_traceback(shared_base):
    with pytest.raises(ZeroDivisionError), ExperimentTracker("managed", shared_base) as tracker:
        1 / 0  # noqa: B018

    assert tracker.status == "failed"
    assert "ZeroDivisionError" in tracker.metadata["error"]


def test_leaving_the_context_by_a_clean_exit_completes_the_run(shared_base):
    with pytest.raises(SystemExit), ExperimentTracker("managed", shared_base) as tracker:
        raise SystemExit(0)

    assert tracker.status == "completed"


HOSTILE = [
    "../escape", "a/b", "..", ".", "", "   ", "a\0b", "a\nb", "x" * 201, "é" * 101, "CON", "nul.txt", ".hidden",
    "trailing.", "trailing ", "a\\b", "\u2028", "\ud800", "/etc/passwd", "a\uff0fb",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_run_name_is_refused_and_leaves_nothing(name, tmp_path):
    base = tmp_path / "runs"

    with pytest.raises(InvalidNameError):
        ExperimentTracker(name, base)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [3, b"bytes", ["list"]])
def test_run_name_must_be_text(name, tmp_path):
    with pytest.raises(TypeError):
        ExperimentTracker(name, tmp_path)


@pytest.mark.parametrize("name", ["naïve", "日本", "🚀", "a b", "-rf", "a'b;c", "%s%n", "a" * 200])
def test_odd_but_harmless_run_name_stays_inside_base_dir(name, shared_base):
    with ExperimentTracker(name, shared_base) as tracker:
        tracker.log_metrics({"loss": 1.0})

    assert tracker.experiment_dir.parent == shared_base
    assert tracker.get_metrics("loss") == [1.0]


@pytest.mark.parametrize(
    "metrics",
    [{"": 1}, {"a\0": 1}, {"x" * 257: 1}, {3: 1}, {"a": "text"}, {"a": 1j}, {"a": None}, {"a": [1]}, [1], None],
    ids=repr,
)
def test_misuse_of_log_metrics_raises_and_logs_nothing(tracker, metrics):
    with pytest.raises((TypeError, ValueError)):
        tracker.log_metrics(metrics)

    assert tracker.metrics_history == []
    assert tracker.status == "created"


def test_base_dir_that_is_a_file_raises_at_the_constructor(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(NotADirectoryError):
        ExperimentTracker("probe", tmp_path / "file")


def test_base_dir_that_cannot_be_made_raises_at_the_constructor():
    with pytest.raises(OSError, match="proc"):
        ExperimentTracker("probe", "/proc/no/such/folder")
