"""The visualizer's worker, with real logs and run folders."""

import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest
from PIL import Image

from neural.tracking import ExperimentTracker
from neural.tracking.collector import commands
from neural.tracking.collector.log.reader import LogReader
from neural.tracking.collector.visualizer import renderer
from neural.tracking.collector.visualizer.applier import VisualizerApplier
from neural.tracking.collector.visualizer.renderer_process import renderer_command
from neural.tracking.figures import run as figures_run
from neural.tracking.figures.visualizer import Plot
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State
from tests.made_runs import Emitter, Log, applied, folder_of
from tests.patience import PATIENCE_S, wait_until

PLOTS = {
    "auto_all_metrics_individual.png", "auto_all_metrics_combined.png", "auto_metric_correlation.png",
    "auto_metric_distributions.png",
}  # fmt: skip
# Hangs the first time, as a library may; the second time it is the real renderer.
HANGS_ONCE = """
import os, sys, time
if not os.path.exists(sys.argv[1]):
    open(sys.argv[1], "w").close()
    time.sleep(600)
os.execv(sys.executable, sys.argv[2:])
"""
# The disk is full in the first round: the real renderer, except for the function that writes files.
FULL_AT_FIRST = """
import errno, os, sys
from neural.tracking.collector.visualizer import renderer
from neural.tracking.figures import saving
tried, niceness = sys.argv[1:]
real = saving.atomic_write
def full(path, *more, **options):
    if os.path.exists(tried):
        return real(path, *more, **options)
    if "individual" not in str(path):
        open(tried, "w").close()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
saving.atomic_write = full
sys.argv[1:] = [niceness]
sys.exit(renderer.main())
"""


class Bench:
    """A visualizer that gets what the store has applied, as from its worker."""

    def __init__(self, folder, **more):
        self.log = Log(folder)
        self.said = []
        self.store = None
        self.visualizer = VisualizerApplier(self.log.state, niceness=0, **more)
        self.visualizer.report_to(self.said.append)
        self.visualizer.open()
        self._follower = LogReader(self.log.state.log, None)

    def feed(self):
        """Let the store apply the log, then pass it to the visualizer."""
        start = self.store.position if self.store is not None else None
        self.store = applied(self.log, self.store, start)
        while items := self._follower.read(self.log.durable):
            self.visualizer.write(items)

    def until(self, condition, what="the condition"):
        def looked():
            self.visualizer.flush()
            return condition()

        return wait_until(looked, what=what)

    def until_idle(self):
        self.until(lambda: not self.owes(), "nothing more is due")

    def owes(self):
        return [line["owes"] for line in self.said if "owes" in line][-1:] == [True]

    def errors(self):
        return [line["error"] for line in self.said if "error" in line]

    def renderer(self):
        return self.visualizer._renderer


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path / "runs")
    yield made
    made.visualizer.close()


def plots(folder):
    """Return the names of the finished plots; assert that each is complete."""
    found = sorted((folder / "plots").glob("[!.]*")) if (folder / "plots").is_dir() else []
    for path in found:
        with Image.open(path) as image:
            image.load()
    return {path.name for path in found}


def trained(calls, *, name="exp", **settings):
    """Return a session that logged two metrics that many times."""
    emitter = Emitter(name=name).open(settings={"auto_visualize": True, "visualize_every": None, **settings})
    return log_more(emitter, calls)


def log_more(emitter, calls):
    for step in range(calls):
        emitter.metrics({"loss": 1 / (step + 1), "accuracy": step / 100})
    return emitter


def test_live_run_is_drawn_after_ten_logs(bench):
    emitter = trained(9)
    folder = folder_of(bench.log.add(emitter), emitter)
    bench.feed()
    bench.visualizer.flush()
    assert bench.renderer() is None

    bench.log.add(log_more(emitter, 1))
    bench.feed()

    bench.until(lambda: plots(folder) == PLOTS, "all plots are there")
    bench.until_idle()
    assert bench.errors() == []
    assert list((folder / "plots").glob(".*")) == []


def test_run_asks_for_more_logs_between_rounds(bench):
    bench.log.add(trained(30, visualize_every=31))
    bench.feed()

    assert not bench.owes()


def test_run_that_wants_no_plots_gets_none(bench):
    emitter = trained(100, auto_visualize=False).end()
    folder = folder_of(bench.log.add(emitter), emitter)
    bench.feed()
    bench.visualizer.flush()

    assert bench.renderer() is None
    assert not (folder / "plots").exists()


@pytest.mark.parametrize("how", ["ends", "dies"])
def test_short_run_is_drawn_at_its_end(bench, how):
    emitter = trained(1)
    bench.log.add(emitter.end() if how == "ends" else emitter)
    if how == "dies":
        bench.log.note(emitter, "died", key="1", error="died")
    bench.feed()

    bench.until(lambda: plots(folder_of(bench.log, emitter)) == PLOTS, "all plots are there")
    bench.until_idle()
    assert not bench.log.state.plots_due.exists()


def test_killed_renderer_starts_again_and_no_half_plot_is_ever_seen(bench):
    emitter = trained(20).end()
    folder = folder_of(bench.log.add(emitter), emitter)
    bench.feed()
    for _ in range(2):
        bench.until(lambda: bench.renderer() is not None and bench.renderer().at_work, "a round is under way")
        os.kill(bench.renderer().pid, signal.SIGKILL)
        bench.until(lambda: bench.renderer() is None or not bench.renderer().alive(), "it is missed")
        plots(folder)

    bench.until(lambda: plots(folder) == PLOTS, "all plots are there")
    bench.until_idle()
    assert any("the renderer died; it starts again" in error for error in bench.errors())


def test_renderer_that_hangs_is_killed_and_the_next_one_draws(tmp_path):
    marker = str(tmp_path / "hung")

    def command(niceness):
        return [sys.executable, "-c", HANGS_ONCE, marker, *renderer_command(niceness)]

    bench = Bench(tmp_path / "runs", deadline_s=5, command=command)
    emitter = trained(20).end()
    folder = folder_of(bench.log.add(emitter), emitter)
    bench.feed()
    try:
        bench.until(
            lambda: any("the renderer hung for 5 s and was killed" in error for error in bench.errors())
        )
        bench.visualizer._deadline_s = PATIENCE_S  # the next renderer works, and may need longer
        bench.until(lambda: plots(folder) == PLOTS, "all plots are there")
    finally:
        bench.visualizer.close()


def test_round_that_was_cut_off_is_drawn_by_the_next_visualizer(bench, tmp_path):
    emitter = trained(20).end()
    folder = folder_of(bench.log.add(emitter), emitter)
    bench.feed()
    bench.visualizer.flush()
    bench.visualizer.close()
    assert bench.log.state.plots_due.exists()
    assert plots(folder) != PLOTS

    successor = VisualizerApplier(bench.log.state, niceness=0)
    successor.open()
    try:

        def looked():
            successor.flush()
            return plots(folder) == PLOTS

        wait_until(looked, what="all plots are there")
    finally:
        successor.close()


def test_plot_that_cannot_be_written_is_told_and_the_others_are_drawn(bench):
    emitter = trained(20)
    folder = folder_of(bench.log.add(emitter), emitter)
    bench.store = applied(bench.log)
    (folder / "plots" / "auto_metric_correlation.png").mkdir(parents=True)
    bench.feed()

    bench.until_idle()

    (error,) = bench.errors()
    assert f"{folder.name}: metric_correlation" in error
    assert (folder / "plots" / "auto_metric_distributions.png").is_file()


def test_plot_that_fails_leaves_a_note_and_the_others_are_drawn(tmp_path, monkeypatch):
    def broken():
        raise ZeroDivisionError("no use")

    two = figures_run.run_plots
    monkeypatch.setattr(
        figures_run, "run_plots", lambda run, pages: [Plot("broken", broken), *two(run, pages=pages)[:1]]
    )
    log, emitter = Log(tmp_path), trained(3)
    folder = folder_of(log.add(emitter), emitter)
    applied(log)
    said = []

    renderer.draw_run(folder, said.append)
    signal.alarm(0)

    assert said[0] == {"failed": "broken", "folder": folder.name, "why": "ZeroDivisionError: no use"}
    assert plots(folder) == {"auto_broken.png", "auto_all_metrics_individual.png"}


def test_run_that_is_deleted_is_forgotten(bench):
    emitter = trained(9)
    bench.log.add(emitter)
    bench.feed()

    bench.visualizer.on_run_removed(emitter.uid.hex())
    bench.visualizer.flush()

    assert not bench.owes()
    assert not bench.log.state.plots_due.exists()


@pytest.fixture
def base(tmp_path):
    """Return a folder of runs whose collector draws at once, even on a busy machine."""
    folder = tmp_path / "runs"
    (folder / ".ntrack").mkdir(parents=True)
    (folder / ".ntrack" / "config.toml").write_text("[collector]\ndrawing_niceness = 0\n")
    yield folder
    commands.stop(folder, timeout_s=120)


def test_training_of_a_second_has_its_plots_and_the_watcher_stays_small(base):
    with ExperimentTracker("short", base) as tracker:
        for step in range(5):
            tracker.log_metrics({"loss": 1 / (step + 1), "accuracy": step / 5}, step=step)

    wait_until(lambda: plots(tracker.experiment_dir) == PLOTS, what="all plots are there")

    told = request(State.for_base_dir(base), "status", timeout_s=PATIENCE_S)
    (worker,) = [worker for worker in told["workers"] if worker["name"] == "visualizer"]
    assert worker["last_error"] is None
    assert not worker["holds_log"]
    if worker["pid"] is not None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the idle renderer exits
            assert "matplotlib" not in Path(f"/proc/{worker['pid']}/maps").read_text()


def test_generated_plots_are_the_tracker_s_own(base):
    with ExperimentTracker("drawn", base, auto_visualize=False) as tracker:
        tracker.log_metrics({"loss": 1.0, "train/$x": 2.0}, step=0)
        found = tracker.generate_visualizations()

    assert list(found) == [name.removeprefix("auto_").removesuffix(".png") for name in (
        "auto_all_metrics_individual.png", "auto_all_metrics_combined.png", "auto_metric_correlation.png",
        "auto_metric_distributions.png",
    )]  # fmt: skip
    assert plots(tracker.experiment_dir) == {path.name for path in found.values()}
    assert {path.parent for path in found.values()} == {tracker.experiment_dir / "plots"}


def test_disabled_tracker_draws_nothing(tmp_path):
    tracker = ExperimentTracker("off", tmp_path, mode="disabled")
    tracker.log_metrics({"loss": 1.0})

    assert tracker.generate_visualizations() == {}
    assert list(tmp_path.iterdir()) == []


def test_run_that_ended_while_the_log_went_on_without_the_worker_gets_its_last_plots(tmp_path):
    bench = Bench(tmp_path)
    drawn, unwanted = (Emitter().open(settings={"auto_visualize": auto}) for auto in (True, False))
    for emitter in (drawn, unwanted):
        bench.log.add(emitter.metrics({"a": 1.0, "b": 2.0}).metrics({"a": 2.0, "b": 1.0}).end())
    applied(bench.log).close()

    bench.visualizer.on_log_skipped()
    bench.until_idle()

    assert plots(folder_of(bench.log, drawn)) == PLOTS
    assert plots(folder_of(bench.log, unwanted)) == set()
    bench.visualizer.on_log_skipped()
    assert not bench.owes()
    bench.visualizer.close()


def test_plots_for_which_there_was_no_room_are_drawn_when_there_is(tmp_path):
    script = tmp_path / "fails_first.py"
    script.write_text(FULL_AT_FIRST)
    bench = Bench(
        tmp_path / "base", command=lambda n: [sys.executable, str(script), str(tmp_path / "tried"), str(n)]
    )
    emitter = trained(20).end()
    folder = folder_of(bench.log.add(emitter), emitter)

    bench.feed()
    bench.until(lambda: plots(folder) == PLOTS, "all plots are there")

    assert any("No space" in error for error in bench.errors())
    bench.visualizer.close()
