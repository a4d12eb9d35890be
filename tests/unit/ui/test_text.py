"""What users logged is shown as text everywhere."""

import csv
import io

import pytest

from neural.tracking.ui.text import csv_cell, duration, for_plot, number, size, web_link


def test_html_in_a_label_of_a_figure_is_text():
    assert for_plot("<b>x</b> & <script>") == "&lt;b&gt;x&lt;/b&gt; &amp; &lt;script&gt;"


def test_long_label_is_cut():
    assert len(for_plot("x" * 500, 40)) == 40


@pytest.mark.parametrize("text", ["=1+2", "+cmd|'/c calc'!A0", "-2", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_formula_is_text_in_a_spreadsheet(text):
    out = io.StringIO()
    csv.writer(out).writerow([csv_cell(text), csv_cell(1.5)])

    first, second = next(csv.reader(io.StringIO(out.getvalue(), newline="")))

    assert first[0] == "'"
    assert second == "1.5"


def test_negative_number_stays_a_number_in_a_spreadsheet():
    assert csv_cell(-2.5) == "-2.5"
    assert csv_cell(None) == ""


@pytest.mark.parametrize(
    "text",
    [
        "javascript:alert(1)",
        "JAVASCRIPT:alert(1)",
        "data:text/html,x",
        "/tmp/x",
        "vbscript:x",
        "http:",
        None,
        3,
    ],
)
def test_only_addresses_of_the_web_become_links(text):
    assert web_link(text) is None


def test_address_of_the_web_is_a_link():
    assert web_link(" https://wandb.ai/me/run ") == "https://wandb.ai/me/run"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.123456, "0.1235"),
        (3, "3"),
        (12345.0, "12,345"),
        (1e-9, "1e-09"),
        ("NaN", "NaN"),
        (float("inf"), "∞"),
        (None, "–"),
    ],
)
def test_numbers_are_short(value, told):
    assert number(value) == told


def test_spans_and_sizes_are_told_in_units():
    assert [duration(s) for s in (0.21, 59, 61, 3600, 90_000)] == [
        "0.2 s",
        "59 s",
        "1 min 1 s",
        "1 h",
        "1 d 1 h",
    ]
    assert [size(n) for n in (5, 2048, 5 << 30)] == ["5 B", "2.0 KiB", "5.0 GiB"]
