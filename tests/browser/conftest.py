"""A real Chromium that opens the real page over real runs.

At the end of a test the console has no error, and no request has gone to another address.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.unit.ui.conftest import Runs

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "neural" / "tracking" / "comparison_ui.py"
PATIENCE_MS = PATIENCE_S * 1000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser():
    """Return Chromium, headless, with a new profile."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("Chromium is missing: apt-get install chromium, or name one in CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, headless=True, args=FLAGS)
        yield started
        started.close()


def _serving():
    """Yield a function that starts the page as a user does, and returns its address."""
    started = []

    def start(base_dir, *options, port=0):
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "--port", str(port), "--base-dir", str(base_dir), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Otherwise the page starts a collector, which adopts the runs and runs for ten minutes.
            env={**os.environ, "COLUMNS": "1000", "NTRACK_MODE": "offline"},
        )
        started.append(process)
        output = ""
        while not (address := re.search(r"http://\S+/", output)):
            line = process.stdout.readline()
            assert line, f"the page did not start: {output}"
            output += line
        start.process = process
        return address[0]

    yield start
    for process in started:
        process.terminate()
        process.wait(120)
        process.stdout.close()


@pytest.fixture
def serve():
    yield from _serving()


@pytest.fixture(scope="module")
def serve_all():
    """As ``serve``, for a page that all tests of a file share, because each start takes some CPU seconds."""
    yield from _serving()


class Browsing:
    """A tab with a new profile; ``wrong`` collects errors, dialogs and requests to other addresses."""

    def __init__(self, browser, address, width, dark):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
        )
        self.context.set_default_timeout(PATIENCE_MS)
        self.address = address
        self.page = self.context.new_page()
        self.wrong = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.wrong.append(f"uncaught: {error}"))
        self.page.on(
            "dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss())
        )
        self.page.on("request", self._on_request)

    def _on_console(self, message):
        if message.type == "error":
            self.wrong.append(f"console: {message.text}")

    def _on_request(self, request):
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.wrong.append(f"request to another address: {request.url}")

    def open(self, search=""):
        self.page.goto(self.address + search)
        self.page.locator("#content .view, #content .notice").first.wait_for()
        return self

    def tab(self, name):
        self.page.get_by_role("tab", name=name, exact=True).click()
        self.page.locator("#content .view").first.wait_for()

    def charts(self):
        """Wait until charts are drawn, and return their plots."""
        self.page.locator("#charts .scatterlayer .trace").first.wait_for(state="attached")
        return self.page.locator("#charts .js-plotly-plot")

    def until(self, expression):
        """Wait until a JavaScript expression is true. The page forbids ``eval``, so the test polls."""
        self.settles(lambda: self.page.evaluate(expression), True, bool)

    def settles(self, read, expected, made=lambda seen: seen):
        """Wait until ``made(read())`` is the expected value: the page draws in several steps."""
        deadline = time.monotonic() + PATIENCE_S
        while made(seen := read()) != expected:
            assert time.monotonic() < deadline, f"never became {expected}: {seen}"
            self.page.wait_for_timeout(100)

    def wait_stable(self):
        """Wait until the number of elements on the page is stable: names and rings appear later than charts."""
        before = None
        while (now := self.page.evaluate("document.querySelectorAll('*').length")) != before:
            before = now
            self.page.wait_for_timeout(1000)

    def retry(self, act, outcome):
        """Repeat a user's action until its outcome is visible: the page may move during the action."""
        from playwright.sync_api import TimeoutError as TooLate

        for _ in range(5):
            act()
            try:
                outcome.wait_for(timeout=PATIENCE_MS / 6)
            except TooLate:
                continue
            return
        outcome.wait_for()

    def close(self):
        self.context.close()


@pytest.fixture
def browse(browser):
    """Return a function that opens a tab; at the end assert that no tab has recorded an error."""
    opened = []

    def start(address, search="", *, width=1600, dark=False):
        opened.append(Browsing(browser, address, width, dark))
        return opened[-1].open(search)

    yield start
    for browsing in opened:
        browsing.close()
    assert [wrong for browsing in opened for wrong in browsing.wrong] == []


@pytest.fixture
def runs(tmp_path):
    """Return a writer of runs into a new folder."""
    found = Runs(tmp_path / "runs")
    yield found
    if found.sink is not None:
        found.sink.close()


def ids(*emitters):
    """Return the runs' ids as in the page's address."""
    return ",".join(emitter.uid.hex()[:8] for emitter in emitters)
