"""What the comparison's report says about its measurements; `make compare` measures."""

import subprocess
import sys
from pathlib import Path

import pytest

COMPARE = Path(__file__).parents[2] / "benchmarks" / "compare"


@pytest.fixture
def summary(monkeypatch):
    """Return a function that makes a summary of trials. Its modules can be imported only in this test."""
    monkeypatch.syspath_prepend(str(COMPARE))
    before = set(sys.modules)
    from report.summary import Summary

    yield lambda *trials, missing=None: Summary({"trials": list(trials), "missing": missing or {}})
    for name in set(sys.modules) - before:
        del sys.modules[name]


def calls(peer, p50, round_number=0):
    result = {"back_to_back": {"p50": p50, "p99": 2 * p50}, "cpu_us": p50}
    options = {"metrics": 3, "seconds": 1}
    return {"measure": "calls", "peer": peer, "round": round_number, "options": options, "result": result}


def survive(peer, lost):
    result = {"logged": 1000, "lost": lost, "strange": 0}
    return {"measure": "survive", "peer": peer, "round": 0, "options": {"how": "burst"}, "result": result}


def test_figure_is_the_median_of_the_rounds_with_least_and_most(summary):
    made = summary(calls("aim", 9.0), calls("aim", 2.0, 1), calls("aim", 4.0, 2))

    assert made.figure("calls", "aim", "back_to_back", "p50", metrics=3) == (4.0, 2.0, 9.0)


def test_a_peer_that_is_better_is_named(summary):
    made = summary(calls("neural-tracking", 3.0), calls("tensorboard", 2.0))

    assert ("CPU a call, 3 metrics (µs)", "TensorBoard writer") in [found[:2] for found in made.better()]


def test_target_is_missed_where_a_peer_is_faster(summary):
    made = summary(calls("neural-tracking", 3.0), calls("tensorboard", 2.0))

    (target,) = [t for t in made.targets() if t.what.startswith("p50 of a call, 3 metrics, back to back")]

    assert not target.met


def test_fifty_times_is_held_against_the_fastest_that_loses_nothing(summary):
    made = summary(
        calls("neural-tracking", 2.0),
        calls("tensorboard", 10.0),
        survive("tensorboard", 7),
        calls("mlflow", 400.0),
        survive("mlflow", 0),
    )

    (target,) = [t for t in made.targets() if t.what.startswith("back to back at least")]

    assert target.met
    assert "MLflow, SQLite" in target.found


def test_a_tool_that_cannot_be_installed_says_so_in_its_row(summary):
    made = summary(missing={"aim": "no wheel for this Python"})

    assert made.failure("calls", "aim") == "could not be installed: no wheel for this Python"


def test_comparison_shows_its_usage():
    shown = subprocess.run(
        [sys.executable, str(COMPARE), "--help"], capture_output=True, text=True, check=True, timeout=240
    )

    assert "--quick" in shown.stdout
