"""The output of ntrack, and the exit codes on which scripts rely."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from neural.tracking import ExperimentManager, ExperimentTracker
from neural.tracking.cli import main
from neural.tracking.collector import commands
from tests.patience import PATIENCE_S, wait_until

FORMULA = "=HYPERLINK(evil)"
MARKUP = "[red]not markup[/]"
NTRACK = "from neural.tracking.cli import main; main()"


def ntrack(*arguments, base=None, code=0, **more):
    """Run a command, check its exit code and return its output."""
    words = [str(word) for word in arguments] + ([] if base is None else ["-d", str(base)])
    result = CliRunner().invoke(main, words, **more)
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


@pytest.fixture(scope="module")
def stored(shared_base):
    """Return two finished runs; the newer one has odd names and values."""
    with ExperimentTracker("older", shared_base, tags=["old"], group="g") as tracker:
        tracker.log_metrics({"loss": 1.0})
    with ExperimentTracker("newer", shared_base, tags=["new"], notes="a note") as tracker:
        tracker.log_hyperparameters({"optimizer": {"name": "adam"}, "device": object, MARKUP: MARKUP})
        for step in range(30):
            tracker.log_metrics({"val/loss": 1 / (step + 1), FORMULA: step, MARKUP: 1.0}, step=step)
        tracker.log_metrics({"nan": float("nan"), "inf": float("inf")}, step=30)
    return tracker


@pytest.fixture
def copied(stored, tmp_path):
    """Return a copy of the newer run in a folder without a collector."""
    folder = tmp_path / "copied" / stored.experiment_dir.name
    shutil.copytree(stored.experiment_dir, folder)
    return folder


def test_runs_are_listed_newest_first(stored, shared_base):
    lines = [line for line in ntrack("runs", "ls", base=shared_base).splitlines() if "completed" in line]

    assert "newer" in lines[0]
    assert "older" in lines[1]


def test_list_as_json_is_what_the_manager_says(stored, shared_base):
    found = json.loads(ntrack("runs", "ls", "--json", base=shared_base))

    assert [run["experiment_name"] for run in found] == ["newer", "older"]
    assert found[1]["summary"] == ExperimentManager(shared_base).list_experiments()[1]["summary"]


@pytest.mark.parametrize(
    ("option", "names"),
    [
        (["--tag", "old"], ["older"]),
        (["--group", "g"], ["older"]),
        (["--name", "newer"], ["newer"]),
        (["--status", "failed"], []),
        (["-n", "1"], ["newer"]),
    ],
    ids=str,
)
def test_list_shows_only_what_was_asked_for(stored, shared_base, option, names):
    found = json.loads(ntrack("runs", "ls", "--json", *option, base=shared_base))

    assert [run["experiment_name"] for run in found] == names


def test_run_is_shown_in_full(stored, shared_base):
    shown = ntrack("runs", "show", "newer", base=shared_base)

    for part in (
        stored.experiment_id,
        "completed",
        "optimizer.name",
        "adam",
        "(as text)",
        "val/loss",
        "a note",
    ):
        assert part in shown


def test_text_of_users_is_never_taken_for_markup(stored, shared_base):
    assert MARKUP in ntrack("runs", "show", "newer", base=shared_base)
    assert MARKUP in ntrack("metrics", "newer", MARKUP, base=shared_base)


def test_run_is_found_by_id_its_beginning_name_folder_and_not_at_all(stored, shared_base):
    run_id = stored.experiment_id
    for word in (run_id, run_id[:6], "newer", stored.experiment_dir.name, stored.experiment_dir, None):
        given = [] if word is None else [word]
        shown = json.loads(ntrack("runs", "show", *given, "--json", base=shared_base))
        assert shown["metadata"]["experiment_id"] == run_id


def test_run_that_is_not_there_brings_the_nearest_name(stored, shared_base):
    assert "did you mean newer" in ntrack("runs", "show", "newr", base=shared_base, code=1)


def test_folder_without_runs_says_so(tmp_path):
    assert "no runs in" in ntrack("runs", "ls", base=tmp_path, code=1)


def test_metrics_table_has_the_last_steps(stored, shared_base):
    shown = ntrack("metrics", "newer", "val/loss", base=shared_base)

    assert "the last 20 of 30 steps" in shown
    assert "0.03333" in shown


def test_metrics_as_json_keep_every_value_and_no_bare_nan(stored, shared_base):
    found = json.loads(ntrack("metrics", "newer", "--json", base=shared_base), parse_constant=pytest.fail)

    assert [point["value"] for point in found["val/loss"]] == [1 / (step + 1) for step in range(30)]
    assert found["nan"][0]["value"] == "NaN"
    assert found["inf"][0].keys() == {"step", "value", "timestamp", "rank"}


def test_metrics_as_csv_have_a_point_a_line_and_no_formula(stored, shared_base):
    rows = list(csv.DictReader(io.StringIO(ntrack("metrics", "newer", "--csv", base=shared_base))))

    assert [float(row["value"]) for row in rows if row["metric"] == "val/loss"][:2] == [1.0, 0.5]
    assert {row["metric"] for row in rows} >= {"'" + FORMULA}
    assert not any(row["metric"].startswith(("=", "+", "-", "@")) for row in rows)


def test_only_the_last_points_when_asked(stored, shared_base):
    found = json.loads(ntrack("metrics", "newer", "val/loss", "--json", "-n", "2", base=shared_base))

    assert [point["step"] for point in found["val/loss"]] == [28, 29]


def test_table_of_the_last_steps_counts_those_of_all_metrics(stored, shared_base):
    shown = ntrack("metrics", "newer", "val/loss", "nan", "-n", "2", base=shared_base)

    assert "the last 2 of 31 steps" in shown
    assert [step for step in (28, 29, 30) if f" {step} " in shown] == [29, 30]


def test_metric_that_is_not_there_brings_the_nearest_name(stored, shared_base):
    assert "did you mean 'val/loss'" in ntrack("metrics", "newer", "val_loss", base=shared_base, code=1)


def test_json_and_csv_at_once_is_wrong_usage(stored, shared_base):
    ntrack("metrics", "newer", "--json", "--csv", base=shared_base, code=2)


def test_unknown_choice_of_ranks_is_wrong_usage(stored, shared_base):
    assert "median" in ntrack("metrics", "newer", "--ranks", "median", base=shared_base, code=2)


def test_verify_proves_finished_runs(stored, shared_base):
    assert "exactly once" in ntrack("verify", base=shared_base)
    found = json.loads(ntrack("verify", "newer", "--json", base=shared_base))
    assert (found["exit_code"], len(found["runs"])) == (0, 1)


def test_verify_proves_a_moved_run(copied):
    assert "exactly once" in ntrack("verify", str(copied), base=copied.parent)


def test_verify_names_damage_and_exits_6(copied):
    (part,) = [*copied.glob("metrics/*.parquet"), *copied.glob("metrics/*.seg")][:1]
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 1
    part.write_bytes(data)

    shown = ntrack("verify", str(copied), base=copied.parent, code=6)

    assert "damaged" in shown
    assert part.name in shown


def test_rebuild_makes_views_as_they_were(copied):
    views = sorted(copied.glob("*.json"))
    views = [path for path in views if path.stem in ("metadata", "hyperparameters", "metrics", "summary")]
    before = {path.name: path.read_bytes() for path in views}
    for path in views:
        path.unlink()

    shown = ntrack("runs", "rebuild", base=copied.parent)

    assert {path.name: path.read_bytes() for path in views} == before
    assert "changed" in shown


def test_rebuild_leaves_the_views_of_a_damaged_run_alone_unless_forced(copied):
    (events,) = copied.glob("events-*.jsonl")
    data = bytearray(events.read_bytes())
    data[len(data) // 2] ^= 1
    events.write_bytes(data)
    (copied / "summary.json").unlink()

    ntrack("runs", "rebuild", base=copied.parent, code=1)
    assert not (copied / "summary.json").exists()
    ntrack("runs", "rebuild", "--force", base=copied.parent)
    assert (copied / "summary.json").exists()


def test_run_is_removed_once_confirmed(base):
    run = ExperimentTracker("gone", base)
    run.log_metrics({"loss": 1.0})
    run.finish(timeout=120)

    ntrack("runs", "rm", "gone", base=base, code=1, input="n\n")
    assert run.experiment_dir.exists()
    ntrack("runs", "rm", "gone", base=base, input="y\n")
    assert not run.experiment_dir.exists()


def test_status_shows_collector_sessions_and_workers(base, patient_commands):
    with ExperimentTracker("live", base) as run:
        run.log_metrics({"loss": 1.0})
        run.flush(120)

        shown = ntrack("status", base=base)
        found = json.loads(ntrack("status", "--json", base=base))

    assert "live" in shown
    assert "store" in shown
    assert found["collector"]["sessions"][0]["last"] >= 2
    assert found["waiting"] == []


def test_collector_starts_once_tells_its_status_and_stops(base, patient_commands):
    ntrack("collector", "status", base=base, code=4)
    assert "started" in ntrack("collector", "start", base=base)
    pid = commands.status(base, timeout_s=PATIENCE_S)["pid"]
    assert f"runs already, pid {pid}" in ntrack("collector", "start", base=base)
    assert f"pid {pid}" in ntrack("collector", "status", base=base)
    assert "stopped" in ntrack("collector", "stop", base=base)
    assert "no collector runs" in ntrack("collector", "stop", base=base)


def test_events_that_wait_for_nobody_are_told_with_exit_code_3(base, run_script):
    run_script(
        "from neural.tracking import ExperimentTracker\n"
        f"ExperimentTracker('left', {str(base)!r}, mode='offline').log_metrics({{'loss': 1.0}})"
    )

    shown = ntrack("status", base=base, code=3)

    assert "left_" in shown
    assert "ntrack collector start" in shown
    assert "being stored" not in ntrack("doctor", base=base, code=1)
    assert "started a collector" in ntrack("verify", base=base, code=3)
    wait_until(lambda: CliRunner().invoke(main, ["verify", "-d", str(base)]).exit_code == 0)


def test_suspended_collector_is_told_apart_from_none(base):
    ntrack("collector", "start", base=base)
    pid = commands.status(base, timeout_s=PATIENCE_S)["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert "does not answer" in ntrack("status", base=base)
        assert "it is suspended" in ntrack("doctor", base=base, code=1)
        ntrack("collector", "status", base=base, code=4)
    finally:
        os.kill(pid, signal.SIGCONT)


FINISHED = """
import sys
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("ended", sys.argv[1])
assert tracker.flush(120)
print("flushed", flush=True)
input()
tracker.log_metrics({"loss": 1.0})
tracker.finish(timeout=0.5)
print("finished", flush=True)
input()
"""


def test_what_a_finished_tracker_left_is_not_told_as_a_dead_process_s(base):
    command = [sys.executable, "-c", FINISHED, str(base)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout.readline() == "flushed\n"
        pid = commands.status(base, timeout_s=PATIENCE_S)["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            print(file=trainer.stdin, flush=True)
            assert trainer.stdout.readline() == "finished\n"

            shown = ntrack("status", base=base, code=3)
            examined = ntrack("doctor", base=base, code=1)
        finally:
            os.kill(pid, signal.SIGCONT)
            trainer.kill()

    assert "its tracker has finished and left" in shown
    assert "does not answer" in shown
    assert "left by trackers that have finished" in examined
    assert "once it answers" in examined
    assert "collector start" not in shown + examined


def test_doctor_finds_nothing_wrong_where_nothing_is(base, patient_commands):
    ExperimentTracker("fine", base).finish(timeout=120)

    assert "no problems" in ntrack("doctor", base=base)
    levels = {finding["level"] for finding in json.loads(ntrack("doctor", "--json", base=base))}
    assert levels == {"ok"}


def test_unknown_command_brings_the_nearest(tmp_path):
    assert "Did you mean 'doctor'" in ntrack("doktor", code=2)


@pytest.mark.parametrize("width", [60, 80])
def test_narrow_terminal_keeps_what_tells_runs_apart(stored, shared_base, width):
    narrow = {"env": {"COLUMNS": str(width)}}

    listed = ntrack("runs", "ls", base=shared_base, **narrow)
    verified = ntrack("verify", base=shared_base, **narrow)

    assert all(stored.experiment_id in text and "newer" in text for text in (listed, verified))
    assert max(map(len, (listed + verified).splitlines())) <= width


def test_terminal_without_unicode_gets_question_marks(stored, shared_base):
    arguments = [sys.executable, "-c", NTRACK, "runs", "ls", "-d", str(shared_base)]
    done = subprocess.run(
        arguments, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=True
    )

    assert b"? completed" in done.stdout


def test_rank_and_status_that_cannot_be_are_refused(stored, shared_base):
    assert "has no rank 5" in ntrack("metrics", "newer", "--ranks", "5", base=shared_base, code=1)
    assert "'completed', 'failed'" in ntrack("runs", "ls", "--status", "done", base=shared_base, code=2)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
@pytest.mark.parametrize(("command", "code"), [("runs ls", 0), ("metrics", 0), ("status", 0), ("doctor", 1)])
def test_another_user_s_runs_can_be_read(copied, command, code):
    state = copied.parent / ".ntrack"
    state.mkdir(mode=0o700)
    os.chown(state, 65534, 65534)
    without_rights = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    arguments = [sys.executable, "-c", NTRACK, *command.split(), "-d", str(copied.parent)]

    done = subprocess.run([*without_rights, *arguments], capture_output=True, text=True, check=False)

    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
