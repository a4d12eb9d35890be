"""Which runs go to which sink, and what a sink receives that was added, enabled or reached late."""

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

import pytest

from neural.tracking import ConfigError, ExperimentManager, ExperimentTracker


def logged(bench, count=200, *, backend=None, start=0, name="train", finish=True):
    tracker = ExperimentTracker(name, base_dir=bench.base, backend=backend, auto_visualize=False)
    tracker.log_hyperparameters({"lr": 0.1})
    for step in range(start, start + count):
        tracker.log_metrics({"loss": step + 0.5}, step=step)
    if finish:
        assert tracker.finish(timeout=120)
    return tracker


def expected(count, start=0):
    return {("loss", step, step + 0.5): 1 for step in range(start, start + count)}


def test_run_goes_to_the_sinks_it_names_and_to_those_for_all(bench, monkeypatch):
    bench.add("all")
    bench.add("named", "rough", "--only-named")
    bench.add("other", "rough", "--only-named")
    monkeypatch.setenv("NTRACK_SINKS", "jsonl, named")

    logged(bench)

    bench.until(lambda: bench.points("all") == expected(200) and bench.points("named") == expected(200))
    bench.until(lambda: list((bench.base / "jsonl").glob("*.jsonl")))
    assert bench.lines("other") == []


def pictures(bench):
    return [line for line in bench.lines("all") if line["kind"] == "artifact" and line["seq"] < 0]


def test_plots_drawn_at_the_end_are_delivered_once(bench):
    bench.add("all")
    with ExperimentTracker("drawn", base_dir=bench.base) as tracker:
        for step in range(20):
            tracker.log_metrics({"loss": 1 / (step + 1), "accuracy": step / 20}, step=step)

    bench.until(lambda: len(pictures(bench)) == 4)

    found = {line["data"]["name"]: line["data"] for line in pictures(bench)}
    assert sorted(found) == sorted(path.name for path in (tracker.experiment_dir / "plots").iterdir())
    for data in found.values():
        content = Path(data["path"]).read_bytes()
        assert (data["type"], data["checksum"]) == ("figure", hashlib.sha256(content).hexdigest())
    bench.ntrack("sinks", "replay", "drawn", "--to", "all")
    bench.until(lambda: not any(bench.state.root.glob("sinks/all/errands/*.json")))
    assert len(pictures(bench)) == 4


def test_argument_wins_over_the_environment_and_unknown_names_are_refused(bench, monkeypatch):
    monkeypatch.setenv("NTRACK_SINKS", "jsonnl")
    with pytest.raises(ConfigError, match=r"'jsonnl' in NTRACK_SINKS.*did you mean 'jsonl'"):
        ExperimentTracker("train", base_dir=bench.base)

    tracker = ExperimentTracker("train", base_dir=bench.base, backend="jsonl")

    assert tracker.metadata["settings"]["backend"] == ["jsonl"]
    tracker.finish()


def test_sink_added_in_the_middle_of_a_run_gets_all_of_it(bench):
    tracker = logged(bench, 300, finish=False)
    assert tracker.flush(120)

    bench.add("late")
    for step in range(300, 400):
        tracker.log_metrics({"loss": step + 0.5}, step=step)
    tracker.finish(timeout=120)

    bench.until(lambda: bench.points("late") == expected(400) and bench.lines("late")[-1]["kind"] == "status")
    assert bench.lines("late")[0]["kind"] == "open"


def test_run_that_ended_long_ago_is_replayed_from_its_folder_and_twice_is_once(bench):
    tracker = logged(bench, 500)
    bench.ntrack("collector", "stop")
    shutil.rmtree(bench.state.log)  # only the run folder exists
    moved = bench.base.parent / "elsewhere" / tracker.experiment_dir.name
    shutil.copytree(tracker.experiment_dir, moved)

    bench.add("today", "rough", "--only-named")
    bench.ntrack("sinks", "replay", str(moved), "--to", "today")
    again = bench.ntrack("sinks", "replay", str(moved), "--to", "today")

    assert bench.points("today") == expected(500)
    assert "0 events delivered" in again.stdout
    ends = [line["data"]["status"] for line in bench.lines("today") if line["kind"] == "status"]
    assert ends == ["completed"]


def test_run_that_goes_on_after_its_end_goes_on_in_the_sink(bench):
    bench.add("all")
    first = logged(bench, 100)
    bench.until(lambda: bench.points("all") == expected(100))

    again = ExperimentManager(bench.base).get_experiment(first.experiment_id)
    for step in range(100, 150):
        again.log_metrics({"loss": step + 0.5}, step=step)
    again.finish(timeout=120)

    bench.until(lambda: bench.points("all") == expected(150))
    told = lambda: [line["data"]["status"] for line in bench.lines("all") if line["kind"] == "status"]  # noqa: E731
    bench.until(lambda: told() == ["completed", "running", "completed"])


def test_backend_not_installed_says_so_and_gets_everything_once_it_is(bench):
    bench.add("absent", "absent")
    tracker = logged(bench)
    bench.until(lambda: bench.status("absent").state == "not installed")
    bench.until(lambda: "pip install" in (bench.status("absent").last_error or ""))
    assert len(tracker.get_metrics("loss")) == 200

    bench.ntrack("sinks", "disable", "absent")
    bench.until(lambda: bench.status("absent").state == "disabled")
    (bench.folder("absent").parent / "installed").parent.mkdir(parents=True, exist_ok=True)
    (bench.folder("absent").parent / "installed").touch()
    bench.ntrack("sinks", "enable", "absent")

    bench.until(lambda: bench.points("absent") == expected(200))
    assert bench.ntrack("sinks", "lag", "absent").returncode == 0


def test_sink_over_its_budget_lets_the_log_go_and_catches_up_from_run_folders(bench):
    (bench.base / ".ntrack").mkdir(parents=True)
    (bench.base / ".ntrack" / "config.toml").write_text("# mine\n[collector]\nsegment_bytes = 2097152\n")
    bench.add("down", log_budget_bytes=1_000_000)
    tracker = ExperimentTracker("train", base_dir=bench.base, auto_visualize=False)
    values = {f"m{i}": float(i) for i in range(100)}
    sent = 0

    def log(condition):
        nonlocal sent
        for _ in range(200):
            tracker.log_metrics(values, step=sent)
            sent += 1
        tracker.flush(120)
        return condition()

    def segments():
        return sorted(int(path.name.split("-")[0]) for path in bench.state.log.glob("*.seg"))

    bench.until(lambda: log(lambda: len(bench.points("down")) > 0))  # it has done its first errands
    bench.until(lambda: len(bench.points("down")) == 100 * sent)
    bench.fault("down", "down")
    bench.until(lambda: log(lambda: bench.status("down").state == "retrying"))
    held = segments()[-1]  # its position is here at the latest, and the file is open
    bench.until(lambda: log(lambda: segments()[0] > held + 1))  # a whole segment is gone that it has not read
    bench.until(lambda: bench.status("down").state == "detached")
    tracker.finish(timeout=120)
    bench.fault("down")

    bench.until(lambda: len(bench.points("down")) == 100 * sent)
    assert set(bench.points("down").values()) == {1}
    assert (bench.base / ".ntrack" / "config.toml").read_text().startswith("# mine\n[collector]\n")


def test_sink_delivers_with_the_interpreter_it_names(bench, tmp_path):
    other = tmp_path / "other-python"
    other.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    bench.add("other", python=other)

    logged(bench)

    bench.until(lambda: bench.points("other") == expected(200))
    assert "collector.workers.worker other" in (tmp_path / "called").read_text()
    assert "read back" in bench.ntrack("sinks", "test", "other").stdout


def test_backend_that_holds_nothing_of_its_test_run_fails_the_test(bench):
    bench.add("lost", "forgetful")

    tried = bench.ntrack("sinks", "test", "lost", check=False)

    assert tried.returncode == 1
    assert "came back otherwise: []" in tried.stderr


def test_status_tells_what_a_sink_that_read_all_has_not_delivered(bench):
    bench.add("down")
    bench.fault("down", "down")
    began_s = time.time()
    logged(bench, 150)

    bench.until(lambda: bench.status("down").state == "retrying" and bench.status("down").lag_events >= 150)
    told = json.loads(bench.ntrack("status", "--json").stdout)

    (sink,) = told["sinks"]
    assert sink["lag_events"] >= 150
    assert 0 < sink["lag_s"] < time.time() - began_s
    assert f"{sink['lag_events']} events" in bench.ntrack("status").stdout
    bench.fault("down")
    bench.until(lambda: bench.status("down").lag_events == 0)
    assert bench.status("down").lag_s == 0


def test_config_edited_by_hand_is_followed_and_a_broken_one_changes_nothing(bench):
    bench.add("first")
    tracker = logged(bench, 50, finish=False)
    tracker.flush(120)
    config = bench.base / ".ntrack" / "config.toml"
    whole = config.read_text()

    config.write_text(whole + "\n[sinks.second]  # by hand\ntype = 'rough'\nrunns = 'all'\n")
    bench.until(lambda: "second" in bench.ntrack("sinks", "ls", check=False).stdout)
    bench.until(lambda: "did you mean 'runs'" in (bench.status("second").last_error or ""))
    config.write_text(whole + "\n[sinks.second\n")
    tracker.log_metrics({"loss": 50.5}, step=50)
    tracker.finish(timeout=120)

    bench.until(lambda: bench.points("first") == expected(51))
    assert "not valid TOML" in bench.ntrack("sinks", "ls", check=False).stderr
    config.write_text(whole)


def test_listing_is_machine_readable_and_removal_takes_the_sink_away(bench):
    bench.add("all")
    logged(bench)
    bench.until(lambda: bench.status("all").lag_events == 0 and bench.status("all").state == "ok")

    (told,) = json.loads(bench.ntrack("sinks", "ls", "--json").stdout)
    bench.ntrack("sinks", "rm", "all")

    assert (told["name"], told["state"], told["lag_events"], told["dead_letters"]) == ("all", "ok", 0, 0)
    assert told["delivered_events"] >= 203
    assert json.loads(bench.ntrack("sinks", "ls", "--json").stdout) == []
    assert "[sinks.all]" not in (bench.base / ".ntrack" / "config.toml").read_text()


def test_interpreter_that_is_not_there_is_refused_where_it_is_named(bench):
    refused = bench.ntrack(
        "sinks", "add", "lab", "--type", "jsonl", "--set", "python=/nowhere/python", check=False
    )

    assert refused.returncode == 1
    assert "python in [sinks.lab] is '/nowhere/python': there is no such program" in refused.stderr
    assert "no sinks: " in bench.ntrack("sinks", "lag").stdout
