"""The page works with a screen reader and with a keyboard only."""

import importlib.resources
import itertools

import pytest

from neural.tracking.ui import address
from tests.browser.conftest import ids

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(300)]

VIEWS = {
    "Runs": ".ag-header-cell[col-id=ag-Grid-SelectionColumn][aria-label]",
    "Metrics": "#charts .js-plotly-plot svg.main-svg[aria-hidden]",
    "Hyperparameters": ".panel-grid svg.main-svg[aria-hidden]",
    "Best metrics": ".view-best svg.main-svg[aria-hidden]",
    "Summary": ".run-card dl",
    "Export": ".export-card",
}
FOCUS = """() => {
    const part = document.activeElement;
    if (!part || part === document.body) return null;
    const ring = part.matches('.btn-check') ? part.nextElementSibling : part;
    const look = getComputedStyle(ring);
    const shown = (parseFloat(look.outlineWidth) > 0 && look.outlineStyle !== 'none')
        || part.matches('[role=slider]');
    const all = [...document.querySelectorAll('*')];
    const box = ring.getBoundingClientRect();
    return {place: all.indexOf(part), shown, size: box.width * box.height, what: part.outerHTML.slice(0, 140)};
}"""
REACHABLE = """() => [...document.querySelectorAll(
        '#shell button, #shell a[href], #shell input, #shell summary, #shell [role=slider]')]
    .filter(part => part.checkVisibility({visibilityProperty: true}) && !part.disabled
        && !part.closest('.ag-root, .modebar, details:not([open]) > :not(summary)')
        && !part.matches('[role=tab]:not(.active), .dash-dropdown-focus-target, [type=radio]:not(:checked)'))
    .map(part => [[...document.querySelectorAll('*')].indexOf(part), part.outerHTML.slice(0, 140)])"""


@pytest.fixture(scope="session")
def axe():
    """Deque's checker of the rules of WCAG, as a script."""
    package = pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python")
    return (importlib.resources.files(package) / "axe.min.js").read_text()


@pytest.fixture
def sweep(runs):
    return [
        runs.add(
            f"sweep-{lr}",
            40,
            params={"lr": lr, "depth": 18},
            metric=lambda step, lr=lr: lr + 1 / (step + 1),
            end="failed" if lr == 0.1 else "completed",
        )
        for lr in (0.001, 0.01, 0.1)
    ]


def grave(tab, axe):
    """Return the problems that axe reports as serious or critical on the current page."""
    tab.page.evaluate(axe)
    found = tab.page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [
        (one["id"], node["html"][:200], node["failureSummary"])
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_view_breaks_a_rule_of_accessibility(sweep, runs, serve, browse, axe, dark, width):
    tab = browse(serve(runs.base_dir), f"?runs={ids(*sweep)}", dark=dark, width=width)
    for name, ready in VIEWS.items():
        tab.tab(name)
        tab.page.locator(ready).first.wait_for(state="attached")
        tab.wait_stable()

        tab.settles(lambda: grave(tab, axe), [])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_view_without_runs_breaks_a_rule_of_accessibility(runs, serve, browse, axe, tmp_path, dark):
    runs.add("alone")
    for base_dir, names in ((runs.base_dir, list(VIEWS)[1:]), (tmp_path / "nowhere", ["Runs"])):
        tab = browse(serve(base_dir), dark=dark)
        for name in names:
            tab.page.get_by_role("tab", name=name, exact=True).click()
            tab.page.locator("#content .notice, .panel-grid").first.wait_for(state="attached")
            tab.wait_stable()

            tab.settles(lambda tab=tab: grave(tab, axe), [])


@pytest.mark.parametrize("name", list(VIEWS))
def test_tab_key_reaches_every_control_in_the_order_of_the_page_and_shows_where_it_is(
    sweep, runs, serve, browse, name
):
    view = next(key for key, label in address.VIEWS.items() if label == name)
    tab = browse(serve(runs.base_dir), f"?view={view}&runs={ids(*sweep)}")
    tab.page.locator(VIEWS[name]).first.wait_for(state="attached")
    tab.wait_stable()
    wanted = tab.page.evaluate(REACHABLE)
    assert len(wanted) > 5

    tab.page.locator(".skip").focus()
    seen = []
    # In the table the arrow keys and Tab move from cell to cell; all other controls are before it.
    while (found := tab.page.evaluate(FOCUS)) and "ag-" not in found["what"]:
        seen.append(found)
        assert len(seen) < 120
        tab.page.keyboard.press("Tab")

    places = [one["place"] for one in seen]
    assert all(before < after for before, after in itertools.pairwise(places)), [one["what"] for one in seen]
    assert [one["what"] for one in seen if not one["shown"] or not one["size"]] == []
    assert [what for place, what in wanted if place not in places] == []


def test_news_is_told_to_who_listens(sweep, runs, serve, browse):
    tab = browse(serve(runs.base_dir))
    tab.page.locator(".ag-row").first.wait_for()
    tab.page.locator("[role=status]", has_text="3 runs").wait_for()

    runs.add("fourth", end=None)

    tab.page.locator("[role=status]", has_text="4 runs").wait_for()
    tab.page.locator("[role=status]", has_text="1 running").wait_for()
