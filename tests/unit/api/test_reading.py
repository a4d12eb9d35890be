"""A tracker's answers when it has no data."""

import pytest

from neural.tracking import ExperimentTracker, MetricVisualizer


@pytest.fixture
def tracker(tmp_path):
    with ExperimentTracker("asked", tmp_path / "runs", mode="offline") as run:
        run.log_metrics({"loss": 0.5})
        yield run


@pytest.mark.parametrize(
    "figsize", ["con", 5, (1,), (1, 2, 3), ("a", 2), (0, 1), (1, -1), (1, 1e6), (float("nan"), 1)]
)
def test_figsize_that_is_none_says_what_one_is(tracker, figsize):
    with pytest.raises((TypeError, ValueError), match=r"figsize must be \(width, height\) in inches"):
        tracker.plot_metrics(figsize=figsize)
    with pytest.raises((TypeError, ValueError), match="figsize must be"):
        MetricVisualizer.create_metric_plots([{"step": 0, "loss": 0.5}], figsize=figsize)


@pytest.mark.parametrize("name", [5, b"loss", 0.5, ["loss", 5]])
def test_metric_asked_for_by_what_is_no_name(tracker, name):
    with pytest.raises(TypeError, match="name"):
        tracker.plot_metrics(name)
    with pytest.raises(TypeError, match="name"):
        tracker.get_metrics(name)
