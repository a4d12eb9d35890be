"""Comparison of several runs: figures, the exported folder, the plots of the command line."""

import base64
import json
import re

import pytest
from matplotlib.figure import Figure

from neural.tracking import ExperimentManager, ExperimentTracker
from neural.tracking.cli.app import main
from neural.tracking.cli.curve import braille
from neural.tracking.figures.series import series_of_history

HOSTILE = "<script>alert(1)</script> & $x"


@pytest.fixture(scope="module")
def runs(shared_base):
    """Return three runs: two with one name, the last with a parameter and a metric that the others lack."""
    ids = []
    for number, (name, rate) in enumerate([("one", 0.1), ("one", 0.01), (HOSTILE.replace("/", "_"), 0.1)]):
        with ExperimentTracker(name, shared_base, auto_visualize=False, tags=["demo"]) as tracker:
            tracker.log_hyperparameters({"lr": rate, "batch": 32, **({"seed": 7} if number == 2 else {})})
            for step in range(20):
                tracker.log_metrics({"train/loss": (number + 1) / (step + 1), "acc": step / 20}, step=step)
            if number == 2:
                tracker.log_metrics({HOSTILE: 1.0}, step=0)
        ids.append(tracker.experiment_id)
    return ids


@pytest.fixture
def manager(shared_base):
    return ExperimentManager(shared_base)


def test_comparison_has_a_figure_for_each_metric_and_two_more(manager, runs):
    figures = manager.compare_experiments(runs)

    assert set(figures) == {
        "comparison_train/loss", "comparison_acc", f"comparison_{HOSTILE}", "hyperparameter_comparison",
        "best_metrics_comparison",
    }  # fmt: skip
    assert all(isinstance(figure, Figure) for figure in figures.values())
    first, second, third = figures["comparison_train/loss"].axes[0].lines[:3]
    assert [line.get_ydata()[0] for line in (first, second, third)] == [1, 2, 3]


def test_comparison_of_some_metrics(manager, runs):
    assert "comparison_train/loss" not in manager.compare_experiments(runs, metrics=["acc"])
    assert "comparison_acc" in manager.compare_experiments(runs[0], metrics="acc")


def test_comparison_names_what_is_not_there(manager, runs):
    with pytest.raises(KeyError, match="00000000"):
        manager.compare_experiments([runs[0], "00000000"])
    with pytest.raises(KeyError, match=r"no run has a metric 'los'; the runs have"):
        manager.compare_experiments(runs, metrics=["los"])
    with pytest.raises(ValueError, match="at least one run"):
        manager.compare_experiments([])


def test_winner_is_told_by_a_name_of_the_list_and_by_no_other(base):
    ids = []
    for name, value in (("good", 0.9), ("bad", 0.6)):
        with ExperimentTracker(name, base, auto_visualize=False) as tracker:
            values = {"val/dice": value, "val/ms_ssim": value, "own": value}
            tracker.log_metrics({**values, "lpips": 1 - value, "hd95": 10 * (1 - value)})
        ids.append(tracker.experiment_id)

    folder = ExperimentManager(base).export_comparison(ids)

    summary = json.loads((folder / "comparison_summary.json").read_text())["metrics"]
    assert {name: (each["better"], each["best_experiment"]) for name, each in summary.items()} == {
        "val/dice": ("greater", ids[0]),
        "val/ms_ssim": ("greater", ids[0]),
        "lpips": ("smaller", ids[0]),
        "hd95": ("smaller", ids[0]),
        "own": ("unknown", None),
    }
    page = (folder / "comparison.html").read_text()
    assert re.search(r"<td>own</td><td>unknown</td><td>–</td><td>–</td>", page)
    assert "does not say which way is better" in page


def test_export_is_a_folder_that_needs_nothing_else(manager, runs):
    folder = manager.export_comparison(runs)

    summary = json.loads((folder / "comparison_summary.json").read_text())
    page = (folder / "comparison.html").read_text()
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert folder.parent == manager.base_dir / "comparisons"
    assert set(summary["files"].values()) == {path.name for path in folder.glob("*.png")}
    assert summary["hyperparameters_that_differ"] == ["lr", "seed"]
    assert summary["metrics"]["train/loss"]["best_experiment"] == runs[0]
    assert summary["metrics"]["train/loss"]["experiments"][runs[1]]["min"] == 2 / 20
    assert [run["experiment_id"] for run in summary["experiments"]] == runs
    assert len(images) == len(summary["files"]) - 1  # the parameters are a table
    assert all(base64.b64decode(image).startswith(b"\x89PNG") for image in images)
    assert "<script" not in page
    assert not re.search(r"(src|href)=.(https?:|//)", page)


def test_export_into_a_folder_of_ones_own(manager, runs, tmp_path):
    folder = manager.export_comparison(runs[:2], tmp_path / "a" / "b", metrics=["acc"])

    assert folder == tmp_path / "a" / "b"
    assert (folder / "comparison_acc.png").is_file()


def test_two_exports_do_not_overwrite_each_other(manager, runs):
    first = manager.export_comparison(runs[:1], metrics=["acc"])

    assert manager.export_comparison(runs[:1], metrics=["acc"]) != first


def plot(shared_base, *arguments):
    from click.testing import CliRunner

    return CliRunner().invoke(main, ["runs", "plot", *arguments, "--base-dir", str(shared_base)])


def test_plot_command_writes_the_set_and_tells_the_paths(shared_base, runs):
    done = plot(shared_base, runs[0])

    names = [line.rpartition("/")[2] for line in done.output.split()]
    assert names == [
        "all_metrics_individual.png", "all_metrics_combined.png", "metric_correlation.png",
        "metric_distributions.png",
    ]  # fmt: skip


def test_plot_command_draws_chosen_metrics_in_another_format(shared_base, runs, tmp_path):
    done = plot(shared_base, runs[0], "--metric", "*loss", "--format", "svg", "--output", str(tmp_path / "o"))

    assert done.output.strip() == str(tmp_path / "o" / "plot_train_loss.svg")
    assert (tmp_path / "o" / "plot_train_loss.svg").read_text().startswith("<?xml")


def test_plot_command_names_a_metric_that_is_not_there(shared_base, runs):
    done = plot(shared_base, runs[0], "--metric", "train/los")

    assert done.exit_code == 1
    assert "did you mean train/loss?" in done.output


def test_terminal_curve_falls_where_the_values_fall_and_is_empty_in_gaps():
    nan = float("nan")
    values = [3.0, 2.0, nan, nan, nan, nan, 1.0, 0.0]
    (one,) = series_of_history([{"step": step, "loss": value} for step, value in enumerate(values)])

    rows = braille(one.line, 8, 2)

    assert [len(row) for row in rows] == [8, 8]
    assert rows[0][0] != "\u2800"
    assert rows[1][-1] != "\u2800"
    assert rows[0][3:5] + rows[1][3:5] == "\u2800" * 4
