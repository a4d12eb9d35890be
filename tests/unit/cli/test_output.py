"""How the terminal shows values."""

import json
import math

import pytest

from neural.tracking.cli import output
from neural.tracking.cli.metrics import formula_safe


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (3.0, "3"), (0.123456789, "0.1235"), (1e-9, "1e-09"), (math.nan, "nan"), (math.inf, "inf")],
)
def test_number_is_short(value, shown):
    assert output.number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.25, "0.2 s"), (59, "59 s"), (61, "1 min 1 s"), (3700, "1 h 1 min"), (200_000, "2 d 7 h")],
)
def test_duration_has_its_two_largest_units(seconds, shown):
    assert output.duration(seconds) == shown


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (1536, "1.5 KiB"), (200 << 20, "200 MiB"), (5 << 40, "5120 GiB")]
)
def test_size_has_a_unit_people_read(size, shown):
    assert output.size(size) == shown


def test_sparkline_follows_the_values_and_leaves_out_what_is_not_finite():
    assert output.sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert output.sparkline([math.nan, 1.0]) == " ▁"
    assert output.sparkline([math.nan]) == " "
    assert output.sparkline([]) == ""
    assert len(output.sparkline(range(10_000), width=24)) == 24


def test_control_characters_never_reach_the_terminal():
    assert output.text("a\x1b[2Jb") == "a\\x1b[2Jb"


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "  =1", "\r1"])
def test_formula_is_quoted(text):
    assert formula_safe(text) == "'" + text


@pytest.mark.parametrize("text", ["loss", "train/loss", "a=b", ""])
def test_other_text_is_left_alone(text):
    assert formula_safe(text) == text


def test_json_has_no_bare_nan(capsys):
    output.print_json({"a": [math.nan, math.inf, -math.inf, 1.0]})

    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "a": ["NaN", "Infinity", "-Infinity", 1.0]
    }
