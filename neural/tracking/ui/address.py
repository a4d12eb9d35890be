"""The state of the page in its URL, so that a view can be shared: tab, selected runs and settings.

``/?view=metrics&runs=1a2b3c4d,-,5e6f7a8b&smooth=0.6``. The position of a run in ``runs``, its slot, is its
colour; ``-`` is a free slot, so that removing a run does not change the colours of the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

VIEWS = {
    "runs": "Runs",
    "metrics": "Metrics",
    "params": "Hyperparameters",
    "best": "Best metrics",
    "summary": "Summary",
    "export": "Export",
}
MAX_SELECTED = 64
MAX_URL = 16_000

# Every setting with its default; lists are joined by newlines in the URL.
SETTINGS: dict[str, Any] = {
    "q": "",  # filter of the runs
    "cols": [],  # columns of the table; none: those that differ
    "m": "",  # search in the names of metrics
    "smooth": 0.0,
    "x": "step",
    "log": [],
    "ranks": "band",
    "n": 24,  # number of charts shown
    "target": "",  # the metric that parameters are compared with
    "goal": "auto",
    "where": "",  # filter of the runs in the charts of parameters
}
CHOICES = {
    "x": ("step", "relative", "wall"),
    "ranks": ("band", "lines"),
    "goal": ("auto", "min", "max"),
}
GOAL_OF = "goal."  # "goal.<metric in hex>": min or max is the best value of this metric


@dataclass(frozen=True)
class PageAddress:
    """The state of the page: tab, selected runs and settings."""

    view: str = "runs"
    runs: tuple[str, ...] = ()  # keys by slot; "" for a free slot
    settings: dict[str, Any] = field(default_factory=lambda: dict(SETTINGS))


def parse(search: str | None) -> PageAddress:
    """Return the state in a URL's query; invalid parts are ignored."""
    text = (search or "").lstrip("?")[:MAX_URL]
    given = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=None))
    view = given.get("view", "runs")
    runs = tuple("" if key == "-" else key[:300] for key in given.get("runs", "").split(",") if key)
    settings = dict(SETTINGS)
    for name, value in given.items():
        if (parsed := _parsed(name, value)) is not None:
            settings[name] = parsed
    return PageAddress(view if view in VIEWS else "runs", trimmed(runs[:MAX_SELECTED]), settings)


def trimmed(slots: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Return the slots, each run once, without free slots at the end."""
    once: list[str] = []
    for key in slots:
        once.append("" if key in once else key)
    while once and not once[-1]:
        once.pop()
    return tuple(once)


def _parsed(name: str, value: str) -> Any:
    if name.startswith(GOAL_OF):
        return value if value in ("min", "max") else None
    if name not in SETTINGS:
        return None
    default = SETTINGS[name]
    if isinstance(default, list):
        return [item for item in value.split("\n") if item][:100]
    if isinstance(default, float | int):
        try:
            number = type(default)(value)
        except ValueError:
            return None
        if number != number:  # comparisons with NaN do not limit it
            return None
        return min(max(number, 0), 0.99) if name == "smooth" else min(max(number, 1), 500)
    if name in CHOICES and value not in CHOICES[name]:
        return None
    return value[:1000]
