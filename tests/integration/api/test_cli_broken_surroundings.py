"""Broken settings, views or terminals: commands print a sentence, never a traceback."""

import json
import os
import subprocess
import sys
import time

import pytest

from neural.tracking import ConfigError, ExperimentManager, ExperimentTracker
from neural.tracking.collector.workers.specs import VISUALIZER, make_applier
from neural.tracking.state.paths import State

NTRACK = (sys.executable, "-m", "neural.tracking.cli")


def ntrack(*arguments, base, **more):
    words = [*NTRACK, *arguments, "-d", str(base)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=240, **more)
    assert "Traceback" not in done.stderr + done.stdout
    return done


@pytest.fixture(scope="module")
def run(shared_base):
    with ExperimentTracker("the_run", shared_base, auto_visualize=False) as tracker:
        tracker.log_metrics({"loss": 1.5})
    return tracker


@pytest.fixture(params=["[agent\nmode = =", "[agent]\nmoed = 1", "[collector]\nlisten = 3", None])
def settings(request, run):
    """Write a ``config.toml`` that cannot be used; with None it is a folder."""
    path = run.base_dir / ".ntrack" / "config.toml"
    path.mkdir() if request.param is None else path.write_text(request.param)
    yield request.param
    path.rmdir() if request.param is None else path.unlink()


@pytest.mark.parametrize("command", [("runs", "ls"), ("metrics", "the_run")], ids=" ".join)
def test_runs_can_be_read_with_settings_nothing_starts_with(run, settings, command):
    done = ntrack(*command, base=run.base_dir)

    assert done.returncode == 0
    assert "the_run" in done.stdout


def test_doctor_names_the_settings_that_cannot_be_used(run, settings):
    done = ntrack("doctor", base=run.base_dir)

    assert done.returncode == 1
    assert "config.toml" in done.stdout + done.stderr or "listen" in done.stdout + done.stderr


def test_drawing_outlives_settings_edited_into_nonsense(run, settings):
    assert make_applier(VISUALIZER, State.for_base_dir(run.base_dir))


def test_training_is_refused_settings_it_would_not_follow(run, settings):
    if settings is None or "[agent" in settings:
        with pytest.raises(ConfigError, match=r"config\.toml"):
            ExperimentTracker("probe", run.base_dir)


def listed(run):
    found = ExperimentManager(run.base_dir).list_experiments()
    return next(entry for entry in found if entry["experiment_id"] == run.experiment_id)


@pytest.mark.parametrize("content", ["null", "[]", '{"metrics": null}', '{"metrics": {"loss": 3}}', '{"a": ['])
def test_views_edited_into_nonsense_are_taken_from_the_truth(run, content):
    views = [run.experiment_dir / name for name in ("summary.json", "metadata.json")]
    before = [view.read_text() for view in views]
    try:
        views[0].write_text(content)
        entry = listed(run)
        views[1].write_text(content)
        again = listed(run)
    finally:
        for view, text in zip(views, before, strict=True):
            view.write_text(text)

    assert entry["status"] == again["status"] == "completed"
    assert entry["summary"]["metrics"]["loss"]["last"] == again["summary"]["metrics"]["loss"]["last"] == 1.5


def test_sink_that_cannot_be_made_is_not_listed_as_well(tmp_path):
    (tmp_path / ".ntrack").mkdir(mode=0o700)
    tables = (
        '[sinks.one]\ntype = "nope"\n[sinks.two]\ntype = "jsonl"\nfile = "x"\n[sinks.jsonl]\ntype = "jsonl"'
    )
    (tmp_path / ".ntrack" / "config.toml").write_text(tables)

    listed = json.loads(ntrack("sinks", "ls", "--json", base=tmp_path).stdout)

    one, two, good = sorted(listed, key=lambda sink: ("one", "two", "jsonl").index(sink["name"]))
    assert [sink["state"] for sink in (one, two, good)] == ["misconfigured", "misconfigured", "ok"]
    assert "no type of sink 'nope'" in one["last_error"]
    assert "unknown setting 'file'" in two["last_error"]
    assert "✗ misconfigured" in ntrack("sinks", "ls", base=tmp_path).stdout


@pytest.mark.parametrize("columns", ["abc", "0", "-5", ""])
def test_nonsense_for_a_width_is_no_width(run, columns):
    done = ntrack("runs", "ls", base=run.base_dir, env={**os.environ, "COLUMNS": columns})

    assert done.returncode == 0
    assert run.experiment_id in done.stdout


def test_closed_standard_output_is_no_reason_for_a_traceback(run):
    words = [*NTRACK, "runs", "ls", "-d", str(run.base_dir)]
    line = 'exec 1>&-; exec "$@"'
    done = subprocess.run(
        ["/bin/sh", "-c", line, "sh", *words], stderr=subprocess.PIPE, check=False, timeout=240
    )

    assert (done.returncode, done.stderr) == (0, b"")


def test_timeout_that_is_no_number_changes_nothing(shared_base):
    tracker = ExperimentTracker("probe", shared_base)
    for call in (tracker.flush, lambda wrong: tracker.finish(timeout=wrong)):
        with pytest.raises(TypeError, match="timeout must be a number of seconds, not str"):
            call("5")
    tracker.log_metrics({"loss": 1.0})

    assert tracker.finish(timeout=120)


def test_run_ended_at_once_warns_of_nothing_its_caller_did_not_log(shared_base):
    source = (
        "import sys, time; from neural.tracking import ExperimentTracker\n"
        "ExperimentTracker('probe', sys.argv[1]).finish(timeout=0); time.sleep(2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", source, str(shared_base)], capture_output=True, check=True, timeout=240
    )

    assert b"is closed" not in done.stderr


def test_text_that_is_no_utf8_is_kept_in_notes_and_refused_in_metadata(shared_base, source):
    tracker = ExperimentTracker("probe", shared_base, notes="a\ud800")
    with pytest.raises(TypeError, match="metadata must be what JSON can hold"):
        tracker.log_artifact(source, metadata={"from": "\udcff"})
    tracker.finish(timeout=120)

    assert tracker.metadata["notes"] == "a\\ud800"


@pytest.mark.parametrize("what", ["tags", "alias"])
def test_label_that_is_no_text_is_named(shared_base, source, what):
    with pytest.raises(TypeError, match="must be text, not int: 5"):
        if what == "tags":
            ExperimentTracker("probe", shared_base, tags=5)
        else:
            ExperimentTracker("probe", shared_base).log_artifact(source, alias=5)


def test_end_does_not_wait_for_a_collector_that_cannot_start(tmp_path):
    base = tmp_path / "runs"
    (base / ".ntrack").mkdir(parents=True, mode=0o700)
    (base / ".ntrack" / "config.toml").write_text('[collector]\nidle_exit_s = "x"\n')
    tracker = ExperimentTracker("unheard", base)
    tracker.log_metrics({"loss": 1.0})
    began = time.monotonic()

    stored = tracker.finish(timeout=120)

    assert not stored
    assert time.monotonic() - began < 100  # of the 120 it was given
    assert "started a collector" not in ntrack("verify", base=base).stdout
