"""The runs of a folder: created, found, continued, listed, deleted."""

import os
import shutil
import signal

import pytest

from neural.tracking import CollectorUnreachableError, ExperimentManager, ExperimentTracker
from neural.tracking.collector import commands
from tests.patience import PATIENCE_S, wait_until


def test_run_is_made_here_with_the_options_given(base):
    manager = ExperimentManager(base)

    run = manager.create_experiment("one", auto_visualize=False, backend="mlflow", tags=["a"])

    assert run.experiment_dir.parent == base
    assert run.tags == ["a"]
    run.finish()


def test_name_has_both_spellings(base):
    run = ExperimentManager(base_dir=base).create_experiment(experiment_name="one")

    assert run.experiment_name == "one"
    run.finish()


def test_runs_are_listed_newest_first_with_what_one_asks_for(base):
    manager = ExperimentManager(base)
    for name in ("one", "two"):
        with manager.create_experiment(name, tags=[name], group="g") as run:
            run.log_hyperparameters({"rate": 0.1})
            run.log_metrics({"loss": 0.5}, step=3)

    listed = manager.list_experiments()

    assert [run["experiment_name"] for run in listed] == ["two", "one"]
    newest = listed[0]
    assert newest.keys() >= {
        "experiment_name", "experiment_id", "status", "start_time", "end_time", "summary", "tags", "group",
    }  # fmt: skip
    assert newest["status"] == "completed"
    assert newest["start_time"] < newest["end_time"]
    assert newest["summary"]["metrics"]["loss"]["last"] == 0.5
    assert (newest["tags"], newest["group"], newest["hyperparameters"]) == (["two"], "g", {"rate": 0.1})


def test_list_says_running_while_it_runs(base):
    manager = ExperimentManager(base)
    with manager.create_experiment("one") as run:
        run.log_metrics({"loss": 0.5})
        run.flush(120)

        (listed,) = manager.list_experiments()

        assert (listed["status"], listed["end_time"]) == ("running", None)
        assert listed["summary"]["calls"] == 1


def test_folder_without_runs_lists_none(tmp_path):
    assert ExperimentManager(tmp_path / "nowhere").list_experiments() == []
    assert not (tmp_path / "nowhere").exists()


def test_unknown_run_is_none(base):
    manager = ExperimentManager(base)
    manager.create_experiment("one").finish()

    for unknown in ("00000000", "", "../../..", "x" * 8, "0000000g", None, 3):
        assert manager.get_experiment(unknown) is None
        assert manager.delete_experiment(unknown) is False


def test_finished_run_reads_as_it_was_logged(base):
    manager = ExperimentManager(base)
    with manager.create_experiment("one") as run:
        run.log_hyperparameters({"rate": 0.1})
        run.log_metrics({"loss": 0.5}, step=3)

    found = manager.get_experiment(run.experiment_id)

    assert found.status == "completed"
    assert found.experiment_name == "one"
    assert found.hyperparameters == {"rate": 0.1}
    assert found.get_metrics("loss") == [0.5]
    assert found.finish() is True


def test_reading_a_run_does_not_write_to_it(base):
    manager = ExperimentManager(base)
    manager.create_experiment("one").finish()
    (listed,) = manager.list_experiments()

    found = manager.get_experiment(listed["experiment_id"])
    found.get_metrics()
    found.finish()

    assert manager.list_experiments() == [listed]


def test_logging_to_a_found_run_goes_on_as_a_new_attempt(base):
    manager = ExperimentManager(base)
    with manager.create_experiment("one", tags=["a"], notes="n") as run:
        run.log_metrics({"loss": 3.0})
        run.log_metrics({"loss": 2.0})

    again = manager.get_experiment(run.experiment_id)
    again.log_metrics({"loss": 1.0})
    running = again.status
    again.flush(120)

    assert running == "running"
    assert [entry["step"] for entry in again.metrics_history] == [0, 1, 2]
    assert again.get_metrics("loss") == [3.0, 2.0, 1.0]
    assert again.metadata["attempts"] == 2
    assert again.metadata["status"] == "running"
    assert (again.tags, again.notes) == (["a"], "n")
    assert again.finish(timeout=120)
    assert manager.get_experiment(run.experiment_id).status == "completed"


def test_run_that_failed_can_end_well_in_its_next_attempt(base):
    manager = ExperimentManager(base)
    with manager.create_experiment("one") as run:
        run.log_metrics({"loss": 3.0})
        run.finish(status="failed")

    again = manager.get_experiment(run.experiment_id)
    again.log_metrics({"loss": 1.0})
    again.finish(timeout=120)

    (listed,) = manager.list_experiments()
    assert listed["status"] == "completed"


def test_deleted_run_is_gone_and_stays_gone(base):
    manager = ExperimentManager(base)
    with manager.create_experiment("one") as run:
        run.log_metrics({"loss": 3.0})

    assert manager.delete_experiment(run.experiment_id) is True

    assert not run.experiment_dir.exists()
    assert manager.get_experiment(run.experiment_id) is None
    assert manager.delete_experiment(run.experiment_id) is False
    assert manager.list_experiments() == []


def test_run_is_deleted_without_a_collector_too(base):
    manager = ExperimentManager(base)
    manager.create_experiment("one").finish()
    run = manager.create_experiment("two")
    run.finish(timeout=120)
    commands.stop(base)

    assert manager.delete_experiment(run.experiment_id) is True

    assert commands.start(base, timeout_s=PATIENCE_S) == 0
    assert [listed["experiment_name"] for listed in manager.list_experiments()] == ["one"]


def test_run_that_is_deleted_while_it_logs_does_not_disturb_the_training(base):
    manager = ExperimentManager(base)
    run = manager.create_experiment("one")
    run.log_metrics({"loss": 3.0})
    run.flush(120)

    assert manager.delete_experiment(run.experiment_id) is True
    for _ in range(100):
        run.log_metrics({"loss": 3.0})
    run.finish()

    assert manager.list_experiments() == []


def test_nothing_is_deleted_past_a_suspended_collector(base, monkeypatch):
    monkeypatch.setattr("neural.tracking.api.run_list.DELETE_TIMEOUT_S", 0.3)
    manager = ExperimentManager(base)
    run = manager.create_experiment("one")
    run.finish(timeout=120)
    pid = commands.status(base, timeout_s=PATIENCE_S)["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(CollectorUnreachableError, match="was not deleted"):
            manager.delete_experiment(run.experiment_id)
    finally:
        os.kill(pid, signal.SIGCONT)

    assert run.experiment_dir.exists()


def test_moved_folder_of_runs_reads_as_before(base, tmp_path):
    with ExperimentManager(base).create_experiment("one") as run:
        run.log_metrics({"loss": 3.0})
    commands.stop(base)
    shutil.move(run.experiment_dir, tmp_path / "elsewhere" / run.experiment_dir.name)

    found = ExperimentManager(tmp_path / "elsewhere").get_experiment(run.experiment_id)

    assert found.get_metrics("loss") == [3.0]
    assert found.status == "completed"


@pytest.mark.parametrize("while_adopted", [False, True], ids=["alone", "with_the_collector_that_adopted_it"])
def test_manager_sees_to_what_a_killed_process_left_behind(base, run_script, while_adopted):
    script = f"""
import os, signal
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("one", {str(base)!r}, mode="offline")
tracker.log_metrics({{"loss": 1.0}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run_script(script, check=False).returncode == -signal.SIGKILL
    if while_adopted:
        (outbox,) = (base / ".ntrack" / "outbox").iterdir()
        outbox.rename(outbox.with_name(f"{outbox.name}.adopting"))

    manager = ExperimentManager(base)

    def stored():
        listed = manager.list_experiments()
        return listed and listed[0]["status"] == "failed" and listed

    (listed,) = wait_until(stored, what="the orphan's end")
    assert listed["summary"]["calls"] == 1
    assert isinstance(manager.get_experiment(listed["experiment_id"]), ExperimentTracker)
