"""The comparison page: time until 5,000 runs are shown, cost of a chart of 10 runs × 10⁶ points, memory.

Run as ``python benchmarks/ui.py [--runs N] [--points N] [--polls N] [--json]``. It needs the ``ui`` extra. The
first paint is measured only if Playwright and Chromium are installed, as in ``make test-frameworks``.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from _measure import Row, report

MAKER = Path(__file__).with_name("_ui_runs.py")
HOUR_POLLS = 1800  # one every two seconds
PERIOD_S = 0.02  # between the live run's calls


def main() -> None:
    """Measure, print the figures, and exit; 1 if a target was not reached."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--polls", type=int, default=HOUR_POLLS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-ui-", dir="/var/tmp"))
    try:
        rows = [*curves(folder / "long", given.points), *table(folder / "many", given.runs)]
        rows += polling(folder / "live", given.polls)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(report("the comparison page", rows, as_json=given.json))


def curves(base_dir: Path, points: int) -> Iterator[Row]:
    """Measure the answer with one metric of ten runs, to the same request as the page sends."""
    subprocess.run([sys.executable, str(MAKER), "long", str(base_dir), "10", str(points)], check=True)
    with page_of(base_dir) as address:
        wait_until_read(address)
        keys = sorted(path.name.rpartition("_")[2] for path in base_dir.iterdir() if path.name[0] != ".")
        asked(address, keys, metric="no such metric")  # so that the times do not include the server's imports
        what = f"chart of 10 runs × {points:,} points"
        first_s, size = asked(address, keys)
        yield Row(f"{what}: server, read from disk", 1000 * first_s, "ms", 500)
        yield Row(f"{what}: on the wire", size / 1000, "KB", 300)
        again_s, _ = asked(address, keys)
        yield Row(f"{what}: server, asked again", 1000 * again_s, "ms", 500)
        smooth_s, _ = asked(address, keys, weight=0.9)
        yield Row(f"{what}: server, smoothed", 1000 * smooth_s, "ms", 500)
        third = points // 3
        zooms = [
            asked(address, keys, zoom=[third - width, third + width])[0] for width in (points // 8, 900, 50)
        ]
        yield Row(f"{what}: zoom, slowest of {len(zooms)}", 1000 * max(zooms), "ms", 200)


def asked(
    address: str, keys: list[str], *, metric: str = "loss", zoom: Any = None, weight: float = 0.0
) -> tuple[float, int]:
    """Return how many seconds a metric's chart of these runs took over HTTP, and the bytes of the answer."""
    metric = metric.encode().hex()
    chart, note = ({"metric": metric, "part": part} for part in ("chart", "note"))
    ids = [json.dumps(part, separators=(",", ":")) for part in (chart, note)]
    any_metric = [json.dumps({**part, "metric": ["MATCH"]}, separators=(",", ":")) for part in (chart, note)]

    def at(name: Any, value: Any, prop: str = "data") -> dict[str, Any]:
        return {"id": name, "property": prop, "value": value}

    body = {
        "output": f"..{any_metric[0]}.figure...{any_metric[1]}.children..",
        "outputs": [{"id": chart, "property": "figure"}, {"id": note, "property": "children"}],
        "inputs": [
            at({"part": "seen", "metric": metric}, True), at({"part": "zoom", "metric": metric}, zoom),
            at("selected", keys), at({"set": "x"}, "step", "value"), at({"set": "log"}, [], "value"),
            at({"set": "smooth"}, weight, "value"), at({"set": "ranks"}, "band", "value"), at("theme", None),
            at("selected-generations", None),
        ],
        "changedPropIds": ["selected-generations.data"],
        "state": [at(chart, chart, "id")],
    }  # fmt: skip
    began = time.perf_counter()
    content = posted(address, body)
    took = time.perf_counter() - began
    figure = json.loads(gzip.decompress(content))["response"][ids[0]]["figure"]
    assert len(figure["data"]) >= len(keys) or metric != b"loss".hex()
    return took, len(content)


def posted(address: str, body: Any) -> bytes:
    """Return the server's answer, compressed."""
    connection = http.client.HTTPConnection(address.split("/")[2], timeout=120)
    headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip"}
    connection.request("POST", "/_dash-update-component", json.dumps(body), headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.status in (200, 204), content[:500]
    return content if answer.headers["Content-Encoding"] == "gzip" else gzip.compress(content)


def table(base_dir: Path, count: int) -> Iterator[Row]:
    """Measure the first read of many runs, a scan for changes, and the first paint in a browser."""
    subprocess.run([sys.executable, str(MAKER), "many", str(base_dir), str(count)], check=True)
    from neural.tracking.ui.data import catalogue as module

    catalogue = module.Catalogue(base_dir)
    began = time.perf_counter()
    catalogue.refresh(at_once=True)
    yield Row(f"{count:,} runs: read for the first time, in the background", time.perf_counter() - began, "s")
    module.WATCH_ENDED_NS = -(10**18)
    began = time.process_time()
    for _ in range(5):
        catalogue.refresh(at_once=True)
    yield Row(f"{count:,} runs: CPU of a scan for changes", 200 * (time.process_time() - began), "ms")
    with page_of(base_dir) as address:
        wait_until_read(address)
        yield from paint(address, count)


def paint(address: str, count: int) -> Iterator[Row]:
    """Measure the time from the request until rows are visible, in a browser with an empty cache."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        print("Playwright is missing: the paint is not measured (pip install playwright)", file=sys.stderr)
        return
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        print("Chromium is missing: the paint is not measured", file=sys.stderr)
        return
    times = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(4):
            page = browser.new_context().new_page()
            page.goto(address, wait_until="commit")
            page.locator(".ag-row").first.wait_for(timeout=60_000)
            times.append(page.evaluate("performance.now()") / 1000)
            page.context.close()
        browser.close()
    first, *others = times
    yield Row(f"{count:,} runs: first rows visible, browser just started", first, "s")
    yield Row(f"{count:,} runs: first rows visible, best of 3", min(others), "s", 1.5)


def polling(base_dir: Path, polls: int) -> Iterator[Row]:
    """Measure the server's memory over an hour's polls of a live run, its open files and its connections."""
    training = subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(base_dir), str(PERIOD_S)], stdout=subprocess.PIPE, text=True
    )
    assert training.stdout is not None
    key = training.stdout.readline().strip()
    try:
        with page_of(base_dir) as address:
            wait_until_read(address)
            process = psutil.Process(pid_of(address))
            sizes = []
            for number in range(polls):
                poll(address, key)
                if number in (polls // 3, polls - 1):
                    sizes.append(process.memory_info().rss / 1e6)
            yield Row(f"server's memory after {polls:,} polls of a growing run", sizes[-1], "MB")
            yield Row("growth in the last two thirds of them", sizes[-1] - sizes[0], "MB", 20)
            opened = {file.path for file in process.open_files() if str(base_dir) in file.path}
            yield Row("files of the runs that the server keeps open", len(opened), "", 0)
            connected = [c for c in process.net_connections("unix") if str(base_dir) in f"{c.laddr}{c.raddr}"]
            yield Row("connections of the server to collector or training", len(connected), "", 0)
    finally:
        training.kill()
        training.wait()
        subprocess.run(
            [sys.executable, "-m", "neural.tracking.cli", "collector", "stop", "-d", str(base_dir)], check=False
        )


TRAINING = """
import sys, time
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("live", sys.argv[1], auto_visualize=False)
tracker.log_metrics({"loss": 2.0}, step=0)
assert tracker.flush(20)
print(tracker.experiment_id, flush=True)
for step in range(10**9):
    tracker.log_metrics({"loss": 1.0 / (step + 1)}, step=step)
    time.sleep(float(sys.argv[2]))
"""


def poll(address: str, key: str) -> None:
    """Send what an open page sends every two seconds: a request for changes, and one for the chart."""
    outputs = [
        ("catalogue-generation", "data"),
        ("poll", "interval"),
        ("live", "children"),
        ("any-runs", "data"),
    ]
    outputs += [("all-read", "data")]
    tick = {
        "output": "..{}..".format("...".join(f"{name}.{prop}" for name, prop in outputs)),
        "outputs": [{"id": name, "property": prop} for name, prop in outputs],
        "inputs": [{"id": "poll", "property": "n_intervals", "value": 1}],
        "changedPropIds": ["poll.n_intervals"],
        "state": [
            {"id": name, "property": "data", "value": None}
            for name in ("catalogue-generation", "any-runs", "all-read")
        ],
    }
    posted(address, tick)
    asked(address, [key])


@contextlib.contextmanager
def page_of(base_dir: Path) -> Iterator[str]:
    """Start the page as a user does; yield its address."""
    command = [sys.executable, "-m", "neural.tracking.cli", "ui", "--port", "0", "-d", str(base_dir)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "1000"}
    )
    assert process.stdout is not None
    output = ""
    while not (found := re.search(r"http://\S+/", output)):
        line = process.stdout.readline()
        assert line, output
        output += line
    try:
        yield found[0]
    finally:
        process.terminate()
        process.wait(20)


def pid_of(address: str) -> int:
    """Return the id of the process that listens at the address."""
    port = int(address.split(":")[2].strip("/"))
    listening = (
        c for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr and c.laddr.port == port
    )
    pid = next(listening).pid
    assert pid is not None
    return pid


def wait_until_read(address: str) -> None:
    """Wait until the server has read all runs."""
    while True:
        with urllib.request.urlopen(address + "health") as answer:
            if json.load(answer)["ready"]:
                return
        time.sleep(0.1)


if __name__ == "__main__":
    main()
