"""Computes medians with their spread, and the targets, from the measured trials."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from catalog import ALL, OURS, PEERS

FACTOR = 50  # back to back, below the fastest peer that loses nothing
FAULT_MS, FINISH_S = 1.0, 5.0
FINISH_TOLERANCE_S = 0.25  # a timeout of 5 s ends a little after 5 s

Result = dict[str, Any]
TITLES = {entry.key: entry.title for entry in ALL}


class Figure(NamedTuple):
    """Median, minimum and maximum of the rounds."""

    median: float
    low: float
    high: float


class Target(NamedTuple):
    """A target of this project, whether it is met, and the measured value."""

    what: str
    met: bool
    found: str


class Summary:
    """The results of all trials, by tool and measure."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.about = results
        self._trials = results["trials"]

    def results(self, measure: str, peer: str, **options: Any) -> list[Result]:
        """Return the results of one tool's trials, including failed ones."""
        return [
            trial["result"]
            for trial in self._trials
            if trial["measure"] == measure
            and trial["peer"] == peer
            and all(trial["options"].get(key) == value for key, value in options.items())
        ]

    def figure(self, measure: str, peer: str, *path: str, **options: Any) -> Figure | None:
        """Return a figure over the rounds; None if nothing was measured."""
        found = []
        for result in self.results(measure, peer, **options):
            value: Any = result
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if isinstance(value, int | float):
                found.append(float(value))
        return Figure(statistics.median(found), min(found), max(found)) if found else None

    def failure(self, measure: str, peer: str) -> str | None:
        """Return why a tool has no row: it is not installed, or its first failure; None if nothing failed."""
        if peer in self.about["missing"]:
            return f"could not be installed: {self.about['missing'][peer]}"
        failed = [result["failed"] for result in self.results(measure, peer) if "failed" in result]
        return failed[0] if failed else None

    def loses_nothing(self, peer: str) -> bool:
        """Return whether every event of every killed training was read back."""
        found = self.results("survive", peer)
        return bool(found) and all(result.get("lost") == 0 for result in found)

    def targets(self) -> list[Target]:
        """Return all targets with the measured values."""
        return [*self._call_targets(), *self._safety_targets(), *self._fault_targets()]

    def better(self) -> Iterator[tuple[str, str, Figure, Figure]]:
        """Yield (figure's name, tool, its figure, ours) for each peer's median that is better than ours."""
        for what, ask in COLUMNS.items():
            ours = ask(self, OURS.key)
            for peer in PEERS:
                theirs = ask(self, peer.key)
                if ours is not None and theirs is not None and theirs.median < ours.median:
                    yield what, peer.title, theirs, ours

    def _call_targets(self) -> Iterator[Target]:
        for metrics in (3, 100):
            for pace, named in (("back_to_back", "back to back"), ("paced", "one a ms")):
                for share in ("p50", "p99"):
                    yield self._below(
                        f"{share} of a call, {metrics} metrics, {named}", "calls", pace, share, metrics=metrics
                    )
            yield self._below(
                f"CPU a call of all processes, {metrics} metrics", "calls", "cpu_us", metrics=metrics
            )
        path = ("back_to_back", "p50")
        ours = self.figure("calls", OURS.key, *path, metrics=3)
        safe = [
            (figure.median, peer.title)
            for peer in PEERS
            if self.loses_nothing(peer.key) and (figure := self.figure("calls", peer.key, *path, metrics=3))
        ]
        if ours is not None and safe:
            fastest, title = min(safe)
            factor = fastest / ours.median
            found = f"{factor:.0f} x below {title} ({fastest:.1f} µs)"
            what = f"back to back at least {FACTOR} x below the fastest peer that loses nothing"
            yield Target(what, factor >= FACTOR, found)

    def _below(self, what: str, measure: str, *path: str, **options: Any) -> Target:
        ours = self.figure(measure, OURS.key, *path, **options)
        others = [
            (figure.median, peer.title)
            for peer in PEERS
            if (figure := self.figure(measure, peer.key, *path, **options)) is not None
        ]
        if ours is None or not others:
            return Target(f"{what}: below every peer's", False, "not measured")
        lowest, title = min(others)
        found = f"{ours.median:.1f} µs; the best peer is {title} with {lowest:.1f} µs"
        return Target(f"{what}: below every peer's", ours.median < lowest, found)

    def _safety_targets(self) -> Iterator[Target]:
        trials = self.results("survive", OURS.key)
        if trials:
            lost = sum(result.get("lost", 10**9) for result in trials)
            logged = sum(result.get("logged", 0) for result in trials)
            yield Target("no event lost at SIGKILL", lost == 0, f"{lost:,} of {logged:,} lost")

    def _fault_targets(self) -> Iterator[Target]:
        for kind in ("suspended", "killed", "gone"):
            for result in self.results("faults", OURS.key, fault=kind):
                if "p99.9" not in result:
                    yield Target(f"collector {kind}", False, str(result))
                    continue
                p999_ms = result["p99.9"] / 1e3
                met = p999_ms < FAULT_MS and result["raised"] == 0
                found = f"p99.9 {p999_ms:.3f} ms, {result['raised']} exceptions"
                yield Target(f"collector {kind}: p99.9 below 1 ms, no exception", met, found)
                finish_s = result["finish_s"]
                met = finish_s <= FINISH_S + FINISH_TOLERANCE_S
                yield Target(f"collector {kind}: finish within 5 s", met, f"{finish_s:.2f} s")


def _ask(measure: str, *path: str, **options: Any) -> Callable[[Summary, str], Figure | None]:
    return lambda summary, peer: summary.figure(measure, peer, *path, **options)


# All figures for which lower is better. Steps a second, for which higher is better, have a table of their own.
COLUMNS: dict[str, Callable[[Summary, str], Figure | None]] = {
    **{
        f"{share} of a call, {metrics} metrics, {named} (µs)": _ask("calls", pace, share, metrics=metrics)
        for metrics in (3, 100)
        for pace, named in (("back_to_back", "back to back"), ("paced", "one a ms"))
        for share in ("p50", "p99", "p99.9", "max")
    },
    "CPU a call, 3 metrics (µs)": _ask("calls", "cpu_us", metrics=3),
    "CPU a call, 100 metrics (µs)": _ask("calls", "cpu_us", metrics=100),
    "import (s)": _ask("calls", "import_s", metrics=3),
    "start (s)": _ask("calls", "start_s", metrics=3),
    "finish after the long run (s)": _ask("long", "finish_s"),
    "growth of a call over the long run (x)": _ask("long", "growth"),
    "peak memory of the training process (MB)": _ask("long", "trainer_mb"),
    "peak memory of the processes beside it (MB)": _ask("long", "helpers_mb"),
    "disk (bytes a point)": _ask("long", "disk_bytes_a_point"),
}
