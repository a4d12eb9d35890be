"""Names and values that are HTML, scripts, formulas or paths appear as text everywhere."""

import json

import pytest

from tests.browser.conftest import ids

pytestmark = pytest.mark.frameworks

HTML = "<img src=x onerror=\"window.hacked=1\"><b id='planted'>bold</b>"
SCRIPT = "<script>window.hacked=1</script><a href='javascript:window.hacked=1'>link</a>"
PLOTLY = '%{y} <a href="javascript:window.hacked=1">x</a> $\\frac{1}{2}$'
FORMULA = '=HYPERLINK("http://evil.example","x")'
GRID = "params.value.constructor.constructor('window.hacked=1')()"

UNTOUCHED = """() => ({
    hacked: window.hacked ?? null,
    planted: document.querySelectorAll('#planted, img[src="x"]').length,
    scripts: [...document.querySelectorAll('a')].filter(a => /^\\s*javascript:/i.test(
        a.getAttribute('href') || a.getAttribute('xlink:href') || '')).length,
})"""


@pytest.fixture
def planted(runs):
    """Write two runs in which every text is hostile."""
    found = []
    for number, name in enumerate((HTML, PLOTLY)):
        params = {
            HTML: SCRIPT,
            "lr": 0.1 + number,
            GRID: FORMULA,
            SCRIPT: PLOTLY + str(number),
            "x.y": {"function": GRID},
        }
        # The folder's name is in the form that a collector makes; the run's own name is in its events.
        emitter = runs.add("planted", 3, end=None, params=params, metric=lambda step: 1.0 + step)
        emitter.event("tags", add=[HTML, FORMULA])
        emitter.event("notes", notes=SCRIPT)
        for step in range(4):
            emitter.metrics({HTML: step + 1.0, SCRIPT + "/" + PLOTLY: 2.0, GRID: 3.0}, step=step)
        emitter.event(
            "metadata",
            values={"command": [HTML, SCRIPT], "host": HTML, "git": {"commit": HTML, "branch": SCRIPT}},
        )
        emitter.end("failed", error=f"Traceback\n{HTML}")
        runs.write(emitter)
        file = runs.folder(emitter) / "run.json"
        told = {"format": 1, "uid": emitter.uid.hex(), "name": name, "opened_ns": emitter.info["opened_ns"]}
        file.write_text(json.dumps(told))
        found.append(emitter)
    return found


@pytest.mark.parametrize("view", ["runs", "metrics", "params", "best", "summary", "export"])
def test_hostile_text_stays_text(planted, runs, serve, browse, view):
    tab = browse(serve(runs.base_dir), f"?view={view}&runs={ids(*planted)}")
    ready = {
        "runs": ".ag-row",
        "metrics": "#charts .scatterlayer .trace",
        "params": ".side-by-side td",
        "best": ".bars .point",
        "summary": ".run-card dl",
        "export": ".export-card",
    }
    tab.page.locator(ready[view]).first.wait_for(state="attached")
    if view == "metrics":
        tab.until("document.querySelectorAll('#charts .js-plotly-plot[data-joined]').length >= 4")
        box = tab.page.locator("#charts .nsewdrag").first.bounding_box()
        tab.page.mouse.move(box["x"] + 60, box["y"] + 60)
        tab.page.mouse.move(box["x"] + 90, box["y"] + 60, steps=4)
    tab.page.wait_for_timeout(800)

    tab.until("document.body.innerText.includes('window.hacked')")
    assert tab.page.evaluate(UNTOUCHED) == {"hacked": None, "planted": 0, "scripts": 0}
    if view in ("best", "params"):  # Plotly's labels render some HTML: they must show it as text
        tab.until(
            "[...document.querySelectorAll('svg text')].some(t => /<img src=x|<script>/.test(t.textContent))"
        )


def test_hostile_columns_and_filters_stay_text(planted, runs, serve, browse):
    tab = browse(serve(runs.base_dir), "?cols=" + "%0A".join(["tags", "notes", f"p:{GRID}", "p:x.y.function"]))
    tab.page.locator(".ag-row").first.wait_for()

    for text in (GRID, HTML, "`" + SCRIPT, "__import__('os')"):
        tab.page.get_by_label("filter of the runs").fill(text)
        tab.page.wait_for_timeout(900)

    assert tab.page.evaluate(UNTOUCHED) == {"hacked": None, "planted": 0, "scripts": 0}


def test_hostile_address_stays_text(runs, serve, browse):
    runs.add("run")
    address = serve(runs.base_dir)
    for search in (
        "?q=%3Cimg%20src%3Dx%20onerror%3D%22window.hacked%3D1%22%3E",
        "?runs=%3Cimg%20src%3Dx%20onerror%3Dwindow.hacked%3D1%3E,../../etc/passwd",
        "?view=metrics&runs=__proto__&m=%3Cscript%3E&cols=constructor%0A__proto__&smooth=NaN",
    ):
        tab = browse(address, search)
        tab.page.wait_for_timeout(500)
        assert tab.page.evaluate(UNTOUCHED) == {"hacked": None, "planted": 0, "scripts": 0}
