"""No text of a user overflows its card, however long the text is."""

import subprocess
import sys

import pytest

from neural.tracking.reader.run_list import find_run
from neural.tracking.sink_state.status import links
from neural.tracking.state.paths import State
from tests.patience import wait_until

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(240)]

# As a user logs it, with a sink that has a link to the run.
TRAINING = """
import sys
from pathlib import Path
from neural.tracking import ExperimentTracker

base_dir = Path(sys.argv[1])
file = base_dir.parent / ("artifact" + "z" * 150 + ".bin")
file.write_bytes(b"1")
for name in ("r" * 100, "short"):
    with ExperimentTracker(
        name, base_dir, backend="tensorboard", tags=["t" * 80, "u" * 80], notes="n" * 300, group="g" * 150
    ) as tracker:
        tracker.log_hyperparameters({"p" * 120: "v" * 400, "n" * 60: {"m" * 60: name}, "lr": len(name)})
        for step in range(5):
            tracker.log_metrics({"m" * 200: float(step), "train/" + "x" * 150: 1.0, "loss": 1e-300}, step=step)
        tracker.log_artifact(str(file))
        tracker.finish(timeout=60)
    print(tracker.experiment_id)
"""
OUTSIDE = """() => [...document.querySelectorAll(
        '#content, .run-card, .chart-card, .panel, .export-card, .notice')]
    .flatMap(card => [...card.querySelectorAll('*')]
        .filter(part => !part.closest(
            '.scrolling, .sideways, .code, .ag-root-wrapper, svg, .visually-hidden, .modebar'))
        .filter(part => {
            const range = document.createRange();
            range.selectNodeContents(part);
            const right = part.children.length || getComputedStyle(part).overflow !== 'visible'
                ? part.getBoundingClientRect().right : range.getBoundingClientRect().right;
            return right > card.getBoundingClientRect().right + 1;
        })
        .map(part => card.className + ' < ' + part.outerHTML.slice(0, 120)))"""


@pytest.fixture(scope="module")
def lengthy(tmp_path_factory):
    base_dir = tmp_path_factory.mktemp("lengthy") / "runs"
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, str(base_dir)], capture_output=True, text=True, timeout=180, check=True
    )
    runs = done.stdout.split()
    wait_until(lambda: all(linked(base_dir, run) for run in runs), what="TensorBoard has the runs")
    subprocess.run(
        [sys.executable, "-m", "neural.tracking.cli", "collector", "stop", "-d", str(base_dir)],
        capture_output=True,
        check=False,
    )
    return base_dir, ",".join(runs)


def linked(base_dir, run):
    """Return whether the page may show TensorBoard's folder of the run."""
    return bool(links(State.for_base_dir(base_dir), find_run(base_dir, run).uid.hex()))


@pytest.mark.parametrize("width", [400, 1600])
def test_no_text_is_wider_than_its_card(lengthy, serve, browse, width):
    base_dir, runs = lengthy
    tab = browse(serve(base_dir), f"?runs={runs}", width=width)
    for name, ready in {
        "Metrics": "#charts .scatterlayer .trace",
        "Hyperparameters": ".panel-grid svg.main-svg",
        "Best metrics": ".view-best .bars .point",
        "Summary": ".run-card .links",
        "Export": ".export-card",
        "Runs": ".ag-row",
    }.items():
        tab.tab(name)
        tab.page.locator(ready).first.wait_for(state="attached")

        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert tab.page.evaluate(OUTSIDE) == [], name


def test_numbers_keep_their_columns_beside_a_long_name(lengthy, serve, browse):
    base_dir, runs = lengthy
    tab = browse(serve(base_dir), f"?view=summary&runs={runs}", width=400)
    tab.page.locator(".run-card td.number").first.wait_for()

    lines = tab.page.evaluate(
        """[...document.querySelectorAll('.run-card td.number, .run-card thead th')].map(cell => {
            const range = document.createRange();
            range.selectNodeContents(cell);
            return new Set([...range.getClientRects()].map(box => Math.round(box.top))).size; })"""
    )

    assert set(lines) == {1}


def test_page_without_runs_fits_a_phone(tmp_path, serve, browse):
    tab = browse(serve(tmp_path / "a-folder-with-a-name-of-some-length-that-is-not-there"), width=400)
    tab.page.locator(".notice").wait_for()

    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 400
    assert tab.page.evaluate(OUTSIDE) == []
