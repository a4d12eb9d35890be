"""Parameters that need several events, with a real collector."""

from neural.tracking import ExperimentTracker


def test_names_of_very_many_classes_are_stored_and_no_call_raises(base):
    tracker = ExperimentTracker("probe", base, auto_visualize=False)
    labels = {str(i): f"n{i:08d} some kind of a thing" for i in range(21_841)}

    assert tracker.log_hyperparameters({"id2label": labels, "rate": 0.1})
    assert tracker.flush(120)

    assert tracker.hyperparameters == {"id2label": labels, "rate": 0.1}
    tracker.finish()


def test_parameters_without_room_are_told(tmp_path, caplog):
    tracker = ExperimentTracker("probe", tmp_path, mode="offline")

    assert tracker.log_hyperparameters({"x": [0] * 10**6, "rate": 0.1})

    assert "run probe: not all parameters were kept" in caplog.text
    assert tracker.hyperparameters["x"][-1].endswith(" more left out")
    tracker.finish()
