"""Backends without a tracker: synchronous objects that use the same sinks."""

import json

import matplotlib.figure
import pytest

from neural.tracking.errors import ConfigError, RetryLater, TrackingError
from neural.tracking.integrations import BaseIntegration, TensorBoardIntegration, create_integration


def lines(folder):
    (file,) = (folder / "jsonl").glob("*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_everything_is_there_when_the_calls_returned(tmp_path):
    model = tmp_path / "model.pt"
    model.write_bytes(b"weights")
    run = create_integration("jsonl", "mine", base_dir=tmp_path)
    run.log_hyperparameters({"lr": 0.1})
    run.log_metrics({"loss": 0.5, "val": {"loss": 0.7}}, step=3)
    run.log_metrics({"loss": 0.4})
    run.log_model(model, framework="pytorch")
    run.log_artifact(model)
    figure = matplotlib.figure.Figure()
    figure.subplots().plot([1, 2])
    run.log_figure(figure, "curve")
    run.finish()

    found = lines(tmp_path)
    assert [line["kind"] for line in found] == ["params", "metrics", "metrics", *["artifact"] * 3, "status"]
    assert (found[1]["data"], found[1]["step"]) == ({"loss": 0.5, "val/loss": 0.7}, 3)
    assert found[2]["step"] == 4
    assert [line["data"]["version"] for line in found[3:6]] == [1, 2, 1]
    assert found[3]["data"]["metadata"] == {"framework": "pytorch"}


def test_run_that_raises_is_failed_and_finished_once(tmp_path):
    with pytest.raises(ZeroDivisionError), create_integration("jsonl", "mine", base_dir=tmp_path) as run:
        run.log_metrics({"loss": 1 / 0})
    run.finish()

    assert [line["data"]["status"] for line in lines(tmp_path) if line["kind"] == "status"] == ["failed"]
    with pytest.raises(TrackingError, match="finished"):
        run.log_metrics({"loss": 1.0})


def test_unknown_backend_and_setting_are_refused_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'mlflow'"):
        create_integration("mlfow", "mine", base_dir=tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'folder'"):
        create_integration("jsonl", "mine", base_dir=tmp_path, foldr="x")
    with pytest.raises(TypeError):
        BaseIntegration("mine", base_dir=tmp_path)


def test_backend_that_cannot_take_it_raises_in_time(tmp_path):
    (tmp_path / "jsonl").write_text("a file in the folder's place")

    with pytest.raises(RetryLater, match="cannot make"):
        create_integration("jsonl", "mine", base_dir=tmp_path, timeout_s=0.3)


@pytest.mark.frameworks
def test_tensorboard_integration_writes_what_its_reader_finds(tmp_path):
    pytest.importorskip("tensorboard")
    with TensorBoardIntegration("mine", base_dir=tmp_path) as run:
        run.log_metrics({"loss": 0.5}, step=3)

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(run.link)
    reader.Reload()
    assert [(point.step, point.value) for point in reader.Scalars("loss")] == [(3, 0.5)]
