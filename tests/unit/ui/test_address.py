"""The URL contains the view, and no content of a URL breaks the page."""

from urllib.parse import urlencode

import pytest

from neural.tracking.ui.address import SETTINGS, VIEWS, PageAddress, parse, trimmed


@pytest.mark.parametrize("view", VIEWS)
def test_view_comes_back_from_its_address(view):
    settings = {
        **SETTINGS,
        "smooth": 0.6,
        "x": "wall",
        "log": ["y"],
        "q": 'lr < 1 & "ä"',
        "cols": ["p:lr", "m:min:a/b"],
    }
    settings["goal.6c6f7373"] = "max"
    texts = {name: "\n".join(v) if isinstance(v, list) else str(v) for name, v in settings.items()}
    search = urlencode({"view": view, "runs": "1a2b3c4d,-,5e6f7a8b", **texts}, safe=",/")

    assert parse(f"?{search}") == PageAddress(view, ("1a2b3c4d", "", "5e6f7a8b"), settings)


def test_plain_page_has_an_empty_query():
    assert parse(None) == parse("") == PageAddress()


@pytest.mark.parametrize(
    "search",
    [
        "?view=nowhere",
        "?smooth=abc",
        "?x=sideways",
        "?n=-5",
        "?%ff%fe",
        "?runs=,,,",
        "?goal.x=sideways",
        "?unknown=1",
        "?runs=" + "a," * 10_000,
        "?smooth=nan",
        "?smooth=99",
        "?" + "&" * 5000,
    ],
)
def test_nonsense_in_an_address_is_left_out(search):
    address = parse(search)

    assert address.view in VIEWS
    assert 0 <= address.settings["smooth"] <= 0.99
    assert address.settings["x"] in ("step", "relative", "wall")
    assert 1 <= address.settings["n"] <= 500
    assert len(address.runs) <= 64


def test_slot_of_a_run_stays_when_one_before_it_goes():
    assert parse("?runs=-,5e6f7a8b").runs == ("", "5e6f7a8b")
    assert trimmed(["a", "", "a", "b", "", ""]) == ("a", "", "", "b")
