"""The page follows changes of the runs, and shows an error if it cannot display them."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.browser.conftest import ids
from tests.ports import free_port

pytestmark = pytest.mark.frameworks

TRAINER = """
import sys, time
from neural.tracking import ExperimentTracker
with ExperimentTracker("live", base_dir=sys.argv[1]) as tracker:
    print(tracker.experiment_id, flush=True)
    step = 0
    while not sys.stdin.closed and step < 100_000:
        tracker.log_metrics({"train/loss": 1000.0 + step}, step=step)
        step += 1
        time.sleep(0.02)
"""


@pytest.fixture
def trainer(tmp_path):
    """Start a process that logs all the time; yield it and its run's id."""
    base_dir = tmp_path / "live"
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINER, str(base_dir)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    try:
        yield base_dir, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()
        subprocess.run(
            [sys.executable, "-m", "neural.tracking.cli", "collector", "stop", "--base-dir", str(base_dir)],
            capture_output=True,
            check=False,
        )


def test_row_and_curve_of_a_running_experiment_move(trainer, serve, browse):
    base_dir, run = trainer
    address = serve(base_dir)
    tab = browse(address, f"?view=metrics&runs={run}")
    tab.charts()
    points = "document.querySelector('#charts .js-plotly-plot')?._fullData[0]?.x.length ?? 0"
    before = tab.page.evaluate(points)

    tab.until(f"{points} > {before + 50}")

    tab.page.get_by_text("1 running").wait_for()
    tab.tab("Runs")
    cell = f".ag-row[row-id='{run}'] [col-id='m:last:train/loss']"
    tab.page.locator(cell).wait_for()
    value = tab.page.locator(cell).text_content()
    tab.until(f"document.querySelector(\"{cell}\").textContent !== '{value}'")


@pytest.mark.parametrize("there", [True, False], ids=["empty", "missing"])
def test_page_without_runs_tells_how_to_log_one_and_shows_it(runs, serve, browse, there):
    if not there:
        shutil.rmtree(runs.base_dir)
    tab = browse(serve(runs.base_dir))
    tab.page.get_by_text("No runs here yet").wait_for()
    assert "ExperimentTracker(" in tab.page.locator("pre").text_content()

    if there:
        runs.add("the first")
    else:
        type(runs)(runs.base_dir).add("the first")

    tab.page.locator(".ag-row").get_by_text("the first").wait_for()


def test_folder_that_cannot_be_read_is_told_and_the_rest_is_shown(runs, serve, browse):
    whole, half, newer = (runs.add(name) for name in ("whole", "half", "newer"))
    for path in [*runs.folder(half).glob("events-*"), *runs.folder(half).glob("run.json")]:
        path.unlink()
    (runs.folder(newer) / "run.json").write_text(
        json.dumps({"format": 2, "uid": newer.uid.hex(), "name": "newer", "opened_ns": 1})
    )

    tab = browse(serve(runs.base_dir), f"?runs={ids(whole)}")

    tab.page.get_by_text("half-written: no run.json").wait_for()
    tab.page.get_by_text("written by a newer release").wait_for()
    tab.tab("Metrics")
    tab.settles(lambda: tab.charts().count(), 1)


def test_run_deleted_while_shown_is_told_and_the_others_stay(runs, serve, browse):
    kept, gone = runs.add("kept"), runs.add("gone")
    tab = browse(serve(runs.base_dir), f"?view=metrics&runs={ids(kept, gone)}")
    tab.charts()
    tab.until("document.querySelector('#charts .js-plotly-plot').data.length === 2")

    shutil.rmtree(runs.folder(gone))

    tab.page.get_by_text("does not exist any more").wait_for()
    tab.until("document.querySelector('#charts .js-plotly-plot').data.length === 1")


def test_damaged_points_are_told_on_their_chart(runs, serve, browse):
    whole, hurt = runs.add("whole"), runs.add("hurt")
    runs.compact()
    runs.damage_values(hurt)

    tab = browse(serve(runs.base_dir), f"?view=metrics&runs={ids(whole, hurt)}")

    tab.charts()
    tab.page.get_by_text("1 run unreadable").wait_for()


def test_page_says_that_its_server_is_gone_and_goes_on_when_it_is_back(runs, serve, browse):
    runs.add("run")
    address = serve(runs.base_dir, port=free_port())
    tab = browse(address)
    tab.page.locator(".ag-row").first.wait_for()

    serve.process.terminate()
    serve.process.wait(120)
    tab.page.get_by_text("server does not answer").wait_for()
    serve(runs.base_dir, port=int(re.search(r":(\d+)/", address)[1]))
    runs.add("later")

    tab.page.locator(".ag-row").get_by_text("later").wait_for()
    tab.page.get_by_text("server does not answer").wait_for(state="hidden")
    # No server answers, or it ended during the request: refused, reset, empty.
    tab.wrong = [wrong for wrong in tab.wrong if "net::ERR_" not in wrong and "Callback failed" not in wrong]


def test_taken_port_ends_with_the_next_free_one(runs, serve):
    runs.add("run")
    port = re.search(r":(\d+)/", serve(runs.base_dir))[1]

    again = subprocess.run(
        [sys.executable, "-m", "neural.tracking.cli", "ui", "--port", port, "--base-dir", str(runs.base_dir)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "COLUMNS": "1000", "NTRACK_MODE": "offline"},
    )

    assert again.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken" in again.stderr
    assert re.search(r"--port \d+", again.stderr)


FAILING = """
import sys
from neural.tracking import ExperimentTracker
with ExperimentTracker("failed", base_dir=sys.argv[1]) as tracker:
    print(tracker.experiment_id, flush=True)
    tracker.log_metrics({"train/loss": 1.0}, step=0)
    raise RuntimeError("out of memory")
"""


def test_what_is_opened_and_where_the_keyboard_is_outlast_the_news_of_a_running_experiment(
    trainer, serve, browse
):
    base_dir, run = trainer
    failed = subprocess.run(
        [sys.executable, "-c", FAILING, str(base_dir)], capture_output=True, text=True, check=False
    ).stdout.strip()
    tab = browse(serve(base_dir), f"?view=summary&runs={run},{failed}")
    tab.page.locator("details.failure").wait_for()
    tab.page.locator("details.failure summary").click()
    tab.page.get_by_role("button", name="remove failed").focus()

    # The card of the live run is drawn again; that of the other one is not, once its plots are there.
    for _ in range(2):
        tab.until(
            """(() => {
                const [live, other] = document.querySelectorAll('.run-card');
                if (!live || !other || live.marked) return false;
                const kept = other.marked;
                live.marked = other.marked = true;
                return kept;
            })()"""
        )

    assert tab.page.locator("details.failure").get_attribute("open") is not None
    assert tab.page.evaluate("document.activeElement.ariaLabel") == "remove failed"


def test_keyboard_stays_on_what_is_drawn_anew_under_it(trainer, serve, browse):
    base_dir, run = trainer
    tab = browse(serve(base_dir), f"?view=best&runs={run}&goal.{b'train/loss'.hex()}=max")
    tab.page.locator(".view-best .bars .point").first.wait_for(state="attached")
    tab.page.get_by_label("maximum").focus()
    tab.page.evaluate("document.querySelector('.chart-card').marked = true")

    tab.until("document.querySelector('.chart-card') && !document.querySelector('.chart-card').marked")

    tab.until("document.activeElement.matches('.chart-card input[type=radio]:checked')")
