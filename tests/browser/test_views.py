"""Every tab does its work."""

import itertools
import re

import pytest

from tests.browser.conftest import ids
from tests.made_runs import Emitter

pytestmark = pytest.mark.frameworks


@pytest.fixture
def sweep(runs):
    """Write four different ended runs, one with two ranks."""
    found = [
        runs.add(
            f"sweep-{lr}", 60, params={"lr": lr, "depth": 18}, metric=lambda step, lr=lr: lr + 1 / (step + 1)
        )
        for lr in (0.001, 0.01, 0.1)
    ]
    first = Emitter(name="ranks")
    second = Emitter(first.uid, rank=1, role="rank", name="ranks")
    for emitter in (first, second):
        emitter.open()
        for step in range(30):
            emitter.metrics({"loss": step / 10 + emitter.info["rank"], "val/loss": 2.0 + step}, step=step)
        emitter.end()
    runs.write(first, second)
    return [*found, first]


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_view_fits_and_is_clean(sweep, runs, serve, browse, width, dark):
    tab = browse(serve(runs.base_dir), f"?runs={ids(*sweep)}", width=width, dark=dark)
    seen = {
        "Runs": ".ag-row",
        "Metrics": "#charts .scatterlayer .trace",
        "Hyperparameters": ".side-by-side td",
        "Best metrics": ".view-best .bars .point",
        "Summary": ".run-card dl",
        "Export": ".export-card",
    }
    for name, what in seen.items():
        tab.tab(name)
        tab.page.locator(what).first.wait_for(state="attached")
        tab.until(f"document.documentElement.scrollWidth <= {width}")  # charts are resized after drawing
    assert tab.page.evaluate("document.documentElement.getAttribute('data-bs-theme')") == (
        "dark" if dark else "light"
    )


def test_filter_narrows_the_table_and_says_what_it_does_not_understand(sweep, runs, serve, browse):
    tab = browse(serve(runs.base_dir))
    tab.page.locator(".ag-row").first.wait_for()
    field = tab.page.get_by_label("filter of the runs")

    field.fill('lr < 0.05 and status == "completed"')
    tab.page.get_by_text("2 of 4 runs").wait_for()
    tab.settles(lambda: tab.page.locator(".ag-center-cols-container .ag-row").count(), 2)

    field.fill("lr <")
    tab.page.get_by_text("the filter ends where").wait_for()

    field.fill("")
    tab.page.get_by_text("4 runs", exact=True).wait_for()


def test_selection_settings_and_view_are_in_the_address(sweep, runs, serve, browse):
    tab = browse(serve(runs.base_dir))
    boxes = tab.page.locator(".ag-row input[type=checkbox]")
    boxes.first.wait_for()
    boxes.nth(0).click()
    tab.until("location.search.includes('runs=')")
    boxes.nth(1).click()
    tab.until("(new URLSearchParams(location.search).get('runs') || '').split(',').length === 2")

    tab.tab("Metrics")
    tab.page.get_by_text("clock", exact=True).click()
    tab.until("location.search.includes('x=wall')")
    address = tab.page.url
    tab.until("document.querySelectorAll('.chip .dot').length === 2")
    colours = tab.page.locator(".chip .dot").evaluate_all("dots => dots.map(d => d.className)")

    other = browse(address.partition("?")[0], "?" + address.partition("?")[2])
    other.charts()
    dots = other.page.locator(".chip .dot")
    other.settles(lambda: dots.evaluate_all("dots => dots.map(d => d.className)"), colours)
    other.settles(other.page.get_by_label("clock", exact=True).is_checked, True)
    other.tab("Runs")
    other.page.locator(".ag-row-selected").nth(1).wait_for(state="attached")


def test_colour_of_a_run_stays_when_another_is_taken_away(sweep, runs, serve, browse):
    tab = browse(serve(runs.base_dir), f"?runs={ids(*sweep[:3])}")
    tab.page.locator(".chip").nth(2).wait_for()

    tab.page.get_by_role("button", name="remove sweep-0.001").click()

    tab.until("document.querySelectorAll('.chip').length === 2")
    tab.until("document.querySelector('.chip .dot').classList.contains('slot-1')")
    tab.until(f"location.search.includes('runs=-,{ids(*sweep[1:3])}')")


def test_columns_are_chosen(sweep, runs, serve, browse):
    tab = browse(serve(runs.base_dir), "?cols=p:lr%0Am:min:loss")
    tab.page.locator(".ag-row").first.wait_for()

    heads = tab.page.locator(".ag-header-cell-text")

    tab.settles(lambda: [head for head in heads.all_text_contents() if head], ["name", "lr", "min loss"])


def test_clicked_head_sorts_by_number(sweep, runs, serve, browse):
    tab = browse(serve(runs.base_dir), "?cols=p:lr")
    tab.page.locator(".ag-row").first.wait_for()

    tab.page.locator(".ag-header-cell[col-id='p:lr']").click()

    tab.until(
        """() => { const cell = row => document.querySelector(
            `.ag-center-cols-container .ag-row[row-index="${row}"] [col-id="p:lr"]`)?.textContent;
            return cell(1) === '0.001' && cell(2) === '0.01' && cell(3) === '0.1'; }"""
    )


def test_zoom_asks_for_the_detail_of_its_stretch(runs, serve, browse):
    spike = 20_011
    emitter = runs.add(
        "long", 40_000, metric=lambda step: 9.0 if step == spike else (step * 7919 % 1000) / 1000
    )
    tab = browse(serve(runs.base_dir), f"?view=metrics&runs={ids(emitter)}")
    tab.charts()
    tab.page.get_by_text(re.compile(r"showing 2,0\d\d of 40,000")).wait_for()
    top = "Math.max(...document.querySelector('#charts .js-plotly-plot')._fullData[0].y)"
    tab.until(f"{top} === 9")
    zoomed = tab.page.get_by_text(re.compile(r"^1,\d\d\d points$"))

    def zoom():
        box = tab.page.locator("#charts .nsewdrag").bounding_box()
        middle = box["y"] + box["height"] / 2
        tab.page.mouse.move(box["x"] + box["width"] * 0.49, middle)
        tab.page.mouse.down()
        tab.page.mouse.move(box["x"] + box["width"] * 0.52, middle + 1, steps=6)
        tab.page.mouse.up()

    tab.retry(zoom, zoomed)
    tab.until(f"{top} === 9")
    tab.page.locator(".modebar-btn[data-title='Reset axes']").first.click(force=True)
    tab.page.get_by_text(re.compile(r"showing 2,0\d\d of 40,000")).wait_for()


def test_pointer_in_one_chart_shows_the_values_in_the_others(sweep, runs, serve, browse):
    tab = browse(serve(runs.base_dir), f"?view=metrics&runs={ids(sweep[3])}")
    tab.until("document.querySelectorAll('#charts .js-plotly-plot[data-joined]').length === 2")

    def labels():
        box = tab.page.locator("#charts .nsewdrag").first.bounding_box()
        tab.page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] / 2)
        tab.page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2, steps=4)
        return tab.page.locator("#charts .hoverlayer .legend").count()

    tab.settles(labels, 2)


def test_axes_smoothing_and_ranks_change_the_curves(sweep, runs, serve, browse):
    tab = browse(serve(runs.base_dir), f"?view=metrics&runs={ids(sweep[3])}&m=val")
    tab.charts()
    plot = "document.querySelector('#charts .js-plotly-plot')"
    tab.until(f"{plot}.data.length === 3")  # the mean and the edges of its band

    tab.page.get_by_text("lines", exact=True).click()
    tab.until(f"{plot}.data.length === 2 && {plot}.data[1].name.endsWith('rank 1')")
    tab.page.get_by_text("time", exact=True).click()
    tab.until(f"{plot}.layout.xaxis.title.text.startsWith('time')")
    tab.page.get_by_label("logarithmic axes").get_by_text("y", exact=True).click()
    tab.until(f"{plot}.layout.yaxis.type === 'log'")
    other = browse(tab.address, f"?view=metrics&runs={ids(sweep[0])}&smooth=0.9")
    other.charts()
    other.until(f"{plot}.data.length === 2")  # the smoothed curve and, faint, the original one


def test_parameters_that_differ_come_first_and_the_others_are_folded(sweep, runs, serve, browse):
    tab = browse(serve(runs.base_dir), f"?view=params&runs={ids(*sweep[:3])}")

    tab.page.locator(".side-by-side").wait_for()

    tab.settles(tab.page.locator(".side-by-side tbody th").all_text_contents, ["lr"])
    tab.settles(tab.page.locator(".side-by-side td").all_text_contents, ["0.001", "0.01", "0.1"])
    assert tab.page.locator("details.constant").get_attribute("open") is None
    tab.page.get_by_text("1 the same in all").click()
    assert tab.page.locator("details.constant th").all_text_contents() == ["depth"]
    tab.page.get_by_text("+1.00").wait_for()  # lr is proportional to the minimum of the loss


def test_least_or_greatest_is_chosen_metric_by_metric(sweep, runs, serve, browse):
    tab = browse(serve(runs.base_dir), f"?view=best&runs={ids(*sweep[:3])}&m=loss")
    card = tab.page.locator(".chart-card").first
    card.locator(".bartext").first.wait_for()
    tab.settles(card.locator(".bartext").first.text_content, "0.01767")

    card.get_by_text("maximum").click()

    card.get_by_text("1.1").first.wait_for()
    tab.until("location.search.includes('goal.6c6f7373=max')")
    card.get_by_text("minimum").click()
    tab.until("!location.search.includes('goal.')")


def test_back_leads_to_the_tab_before(sweep, runs, serve, browse):
    tab = browse(serve(runs.base_dir), f"?runs={ids(*sweep)}")
    tab.tab("Export")
    tab.page.locator(".export-card").first.wait_for()

    tab.page.go_back()

    tab.page.locator(".view-runs").wait_for()


def test_page_works_from_the_keyboard(sweep, runs, serve, browse):
    tab = browse(serve(runs.base_dir))
    tab.page.locator(".ag-row").first.wait_for()

    tab.page.keyboard.press("/")
    assert tab.page.evaluate("document.activeElement.type") == "search"
    tab.page.keyboard.type("sweep-0.1")
    tab.page.get_by_text("1 of 4 runs").wait_for()
    tab.page.get_by_role("tab", name="Runs", exact=True).focus()
    tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("Enter")
    tab.page.locator(".view-metrics").wait_for()
    unnamed = lambda: tab.page.evaluate(  # noqa: E731
        """[...document.querySelectorAll('button, input, a, [role=img]')].filter(e => e.offsetParent &&
            !(e.textContent || e.title || e.ariaLabel || e.labels?.length || e.placeholder))
            .map(e => e.outerHTML)"""
    )
    tab.settles(unnamed, [])


def test_theme_is_switched_and_stays(sweep, runs, serve, browse):
    tab = browse(serve(runs.base_dir), f"?view=metrics&runs={ids(sweep[0])}")
    tab.charts()

    tab.page.get_by_role("button", name="switch between light and dark").click()

    tab.until("document.querySelector('#charts .js-plotly-plot').layout.paper_bgcolor === '#161b22'")
    tab.page.reload()
    tab.until("document.documentElement.getAttribute('data-bs-theme') === 'dark'")


def test_stretch_dragged_along_an_axis_narrows_the_charts_and_selects(sweep, runs, serve, browse):
    tab = browse(serve(runs.base_dir), "?view=params&target=loss")
    plot = tab.page.locator("#parallel")
    plot.locator(".trace").first.wait_for(state="attached")
    span = 2 - 0.55 + 0.2  # from left to right, in axes; two of them

    def drag():
        box = plot.locator(".nsewdrag").first.bounding_box()
        x = box["x"] + box["width"] * 0.2 / span
        heights = [box["y"] + box["height"] * (1 - (y + 0.06) / 1.22) for y in (0.4, 1.1)]
        tab.page.mouse.move(x - 12, heights[0])
        tab.page.mouse.down()
        tab.page.mouse.move(x + 12, heights[1], steps=8)
        tab.page.mouse.up()

    tab.retry(drag, tab.page.get_by_text("2 of 4 runs"))
    tab.until("new URLSearchParams(location.search).get('where')?.includes('<= `lr`')")
    tab.page.get_by_role("button", name="Select these").click()
    tab.until("document.querySelectorAll('#chips .chip').length === 2")


def test_charts_of_parameters_are_narrowed_from_the_keyboard(sweep, runs, serve, browse):
    tab = browse(serve(runs.base_dir), "?view=params&target=loss")
    tab.page.locator("#parallel .trace").first.wait_for(state="attached")

    tab.page.keyboard.press("/")
    tab.page.keyboard.type("lr <")
    tab.page.locator("#where-error:not(:empty)").wait_for()
    tab.page.keyboard.type(" 0.05")

    tab.page.get_by_text("2 of 4 runs").wait_for()
    tab.page.get_by_role("button", name="Select these").focus()
    tab.page.keyboard.press("Enter")
    tab.until("document.querySelectorAll('#chips .chip').length === 2")


UNNAMED = ("button", "link", "searchbox", "combobox", "checkbox", "radio", "slider", "tab", "image", "grid")
UNNAMED += ("table", "region", "columnheader", "rowheader")
FAINT_TEXT = """() => {
    const channels = text => text.match(/[\\d.]+/g).map(Number);
    const light = colour => colour.slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
    const ground = part => {
        for (; part; part = part.parentElement) {
            const found = channels(getComputedStyle(part).backgroundColor);
            if (found.length < 4 || found[3] > 0.99) return found;
        }
        return [255, 255, 255];
    };
    const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const part = walk.currentNode.parentElement;
        if (!walk.currentNode.data.trim() || !part.offsetParent || part.closest("svg, script, style")) continue;
        if (part.closest("[disabled]")) continue;
        const both = [light(channels(getComputedStyle(part).color)), light(ground(part))].sort((a, b) => b - a);
        const ratio = (both[0] + 0.05) / (both[1] + 0.05);
        if (ratio < 4.5) found.push([walk.currentNode.data.slice(0, 40), part.className, ratio]);
    }
    return found;
}"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_view_has_names_headings_and_contrast_for_who_listens_or_sees_little(
    sweep, runs, serve, browse, dark
):
    tab = browse(serve(runs.base_dir), f"?runs={ids(*sweep)}", dark=dark)
    devtools = tab.context.new_cdp_session(tab.page)
    for name, ready in {
        "Runs": ".ag-header-cell[col-id=ag-Grid-SelectionColumn][aria-label]",
        "Metrics": "#charts .js-plotly-plot svg.main-svg[aria-hidden]",
        "Hyperparameters": ".side-by-side td",
        "Best metrics": ".view-best svg.main-svg[aria-hidden]",
        "Summary": ".run-card dl",
        "Export": ".export-card",
    }.items():
        tab.tab(name)
        tab.page.locator(ready).first.wait_for(state="attached")
        tab.page.wait_for_timeout(1000)  # names appear in a later update; charts are drawn in several steps

        def faults():
            nodes = [n for n in devtools.send("Accessibility.getFullAXTree")["nodes"] if not n["ignored"]]
            unnamed = [n["role"]["value"] for n in nodes if n["role"]["value"] in UNNAMED and not told(n)]
            levels = [level(n) for n in nodes if n["role"]["value"] == "heading"]
            ordered = all(after <= before + 1 for before, after in itertools.pairwise(levels))
            return unnamed, levels[:2], ordered, tab.page.evaluate(FAINT_TEXT)

        tab.settles(faults, ([], [1, 2], True, []))


def told(node):
    return node.get("name", {}).get("value", "").strip()


def level(node):
    return next(one["value"]["value"] for one in node["properties"] if one["name"] == "level")
