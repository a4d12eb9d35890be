"""Without a collector: offline, disabled, suspended; and the folder that runs go to."""

import os
import signal
import time

import pytest
from click.testing import CliRunner

from neural.tracking import ConfigError, ExperimentManager, ExperimentTracker
from neural.tracking.api import run_view
from neural.tracking.cli import main
from neural.tracking.collector import commands
from neural.tracking.state.paths import State
from tests.patience import PATIENCE_S, wait_until


def log_some(tracker):
    tracker.log_hyperparameters({"rate": 0.1})
    tracker.log_text("note", "text")
    tracker.add_tags("later")
    for step in range(5):
        tracker.log_metrics({"loss": 1 / (step + 1)}, step=step)


def test_offline_starts_no_collector_and_reads_its_own_outbox(base):
    tracker = ExperimentTracker("off", base, mode="offline", tags=["a"], group="g")
    log_some(tracker)

    assert tracker.status == "running"
    assert tracker.get_metrics("loss") == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert [entry["step"] for entry in tracker.metrics_history] == [0, 1, 2, 3, 4]
    assert tracker.hyperparameters == {"rate": 0.1}
    assert tracker.tags == ["a", "later"]
    assert tracker.group == "g"
    assert tracker.get_best_metric("loss", "min") == (1 / 5, 4)
    assert tracker.summary["calls"] == 5
    assert tracker.flush(timeout=0.1) is False
    assert tracker.finish(timeout=0.1) is False
    assert tracker.status == "completed"
    assert tracker.get_metrics("loss") == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert commands.status(base) == {"running": False}


def test_what_was_logged_offline_is_stored_by_the_next_collector(base, monkeypatch):
    monkeypatch.setenv("NTRACK_MODE", "offline")
    tracker = ExperimentTracker("off", base)
    log_some(tracker)
    tracker.finish(timeout=0.1)
    monkeypatch.delenv("NTRACK_MODE")

    assert commands.start(base, timeout_s=PATIENCE_S) == 0

    manager = ExperimentManager(base)
    wait_until(lambda: manager.get_experiment(tracker.experiment_id).status == "completed")
    run = manager.get_experiment(tracker.experiment_id)
    assert run.get_metrics("loss") == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert CliRunner().invoke(main, ["verify", "-d", str(base)]).exit_code == 0


def test_offline_summary_is_written_from_the_outbox(base):
    tracker = ExperimentTracker("off", base, mode="offline")
    log_some(tracker)

    assert '"rate": 0.1' in tracker.save_experiment_summary().read_text()
    tracker.finish(timeout=0.1)


def test_disabled_makes_no_file_and_reads_empty(base, monkeypatch):
    monkeypatch.setenv("NTRACK_MODE", "disabled")
    with ExperimentTracker("off", base, tags=["a"]) as tracker:
        log_some(tracker)

        assert tracker.log_metrics({"loss": 1.0}) is True
        assert tracker.get_metrics("loss") == []
        assert tracker.metrics_history == []
        assert tracker.hyperparameters == {}
        assert tracker.get_best_metric("loss") == (None, None)
        assert tracker.flush() is True
        assert tracker.save_experiment_summary() == tracker.experiment_dir / "summary.json"
        assert tracker.status == "running"

    assert tracker.status == "completed"
    assert not base.exists()


def test_unknown_mode_is_refused_at_the_constructor(base):
    with pytest.raises(ConfigError, match="mode"):
        ExperimentTracker("off", base, mode="sometimes")


def test_ntrack_dir_is_where_runs_go_unless_told_otherwise(base, tmp_path, monkeypatch):
    monkeypatch.setenv("NTRACK_DIR", str(base))

    with ExperimentTracker("there") as there, ExperimentTracker("here", tmp_path / "here") as here:
        pass

    assert there.experiment_dir.parent == base
    assert here.experiment_dir.parent == tmp_path / "here"
    assert [run["experiment_name"] for run in ExperimentManager().list_experiments()] == ["there"]
    commands.stop(tmp_path / "here")


def test_without_either_runs_go_below_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    tracker = ExperimentTracker("here", mode="offline")

    assert tracker.experiment_dir.parent == tmp_path / "neural_experiments"
    tracker.finish(timeout=0)


def test_read_beside_a_suspended_collector_is_quick_and_sees_everything(base, monkeypatch):
    monkeypatch.setattr(run_view, "BARRIER_S", 1.0)  # the default for users
    tracker = ExperimentTracker("probe", base)
    tracker.log_metrics({"loss": 1.0}, step=0)
    assert tracker.flush(120)
    pid = commands.status(base, timeout_s=PATIENCE_S)["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        tracker.log_metrics({"loss": 2.0}, step=1)
        tracker.log_hyperparameters({"rate": 0.1})
        began = time.monotonic()
        seen = tracker.get_metrics("loss"), tracker.hyperparameters
        took = time.monotonic() - began
    finally:
        os.kill(pid, signal.SIGCONT)

    assert seen == ([1.0, 2.0], {"rate": 0.1})
    assert took < 30  # two reads, each waits 1 s at most, not until the collector is resumed
    assert tracker.finish(timeout=120)


def test_state_folder_that_would_mean_another_one_to_each_process_is_refused(base, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("NTRACK_STATE_DIR", "below/the/current/folder")
        with pytest.raises(ConfigError, match="NTRACK_STATE_DIR is 'below/the/current/folder'"):
            ExperimentTracker("probe", base)

    assert not base.exists()


def test_unknown_kind_of_file_system_is_refused(base, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("NTRACK_FS", "nfs")
        with pytest.raises(ConfigError, match="NTRACK_FS is 'nfs'; it must be local or network"):
            ExperimentTracker("probe", base)

    assert not base.exists()


def test_state_may_lie_elsewhere(base, tmp_path, monkeypatch):
    monkeypatch.setenv("NTRACK_STATE_DIR", str(tmp_path / "state"))
    with ExperimentTracker("probe", base) as tracker:
        tracker.log_metrics({"loss": 1.0})

    assert tracker.get_metrics("loss") == [1.0]
    assert State.for_base_dir(base).root.parent == tmp_path / "state"
    assert not (base / ".ntrack" / "outbox").exists()
    commands.stop(base)
