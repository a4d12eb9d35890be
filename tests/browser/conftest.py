"""A real Chromium on the real page over real runs; each ends with a clean console and no foreign request."""

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
    """Chromium, headless, with a fresh profile."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium, or name one in CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, headless=True, args=FLAGS)
        yield started
        started.close()


def _serving():
    """Yield a function that starts the page as a user would, and returns its address."""
    started = []

    def start(base_dir, *options, port=0):
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "--port", str(port), "--base-dir", str(base_dir), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Else a collector would be started that goes on with the runs, and stays for ten minutes.
            env={**os.environ, "COLUMNS": "1000", "NTRACK_MODE": "offline"},
        )
        started.append(process)
        told = ""
        while not (address := re.search(r"http://\S+/", told)):
            line = process.stdout.readline()
            assert line, f"the page did not start: {told}"
            told += line
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
    """As ``serve``, for a page that all tests of a file share: each start takes some seconds of a core."""
    yield from _serving()


class Browsing:
    """A tab of a fresh profile; remembers what must not happen."""

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
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.wrong.append(f"uncaught: {error}"))
        self.page.on(
            "dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss())
        )
        self.page.on("request", self._asked)

    def _said(self, message):
        if message.type == "error":
            self.wrong.append(f"console: {message.text}")

    def _asked(self, request):
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.wrong.append(f"asked elsewhere: {request.url}")

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
        """Wait until a JavaScript expression is true; asked from here, since the page forbids ``eval``."""
        self.settles(lambda: self.page.evaluate(expression), True, bool)

    def settles(self, look, expected, made=lambda seen: seen):
        """Wait until what ``look`` sees is what is expected: the page draws in several turns."""
        deadline = time.monotonic() + PATIENCE_S
        while made(seen := look()) != expected:
            assert time.monotonic() < deadline, f"never became {expected}: {seen}"
            self.page.wait_for_timeout(100)

    def rests(self):
        """Wait until nothing more comes onto the page: names and rings come on ticks of their own."""
        before = None
        while (now := self.page.evaluate("document.querySelectorAll('*').length")) != before:
            before = now
            self.page.wait_for_timeout(1000)

    def insist(self, act, outcome):
        """Do what a hand does until its outcome is to be seen: the page may still have moved under it."""
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
    """Return a function that opens a tab; in the end nothing may have gone wrong in any."""
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
    """Write runs into a folder of their own."""
    found = Runs(tmp_path / "runs")
    yield found
    if found.sink is not None:
        found.sink.close()


def ids(*emitters):
    """Return the runs as the address holds them."""
    return ",".join(emitter.uid.hex()[:8] for emitter in emitters)
