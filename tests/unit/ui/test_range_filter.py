"""A range on an axis becomes a condition of the filter; a range on the same axis replaces it."""

import pytest

from neural.tracking.ui import range_filter
from neural.tracking.ui.data.catalogue import Row
from neural.tracking.ui.data.query import compile_query

pytestmark = pytest.mark.frameworks
_axis = pytest.importorskip("neural.tracking.ui.views.params", reason="needs the extra ui")._axis

RATES = [0.0001, 0.001, 0.01, 0.1]
KINDS = ["adam", "sgd", "it's", 'say "x"']


def rows(name, values):
    return [Row(str(place), None, "run", params={name: value}) for place, value in enumerate(values)]


def passing(where, found):
    return [row.key for row in found if compile_query(where)(row)]


def test_stretch_of_numbers_passes_the_runs_in_it():
    axis = _axis(range_filter.reference("lr"), RATES)

    where = range_filter.narrowed("", [axis], {"x": [-0.1, 0.1], "y": [0.3, 0.7]})

    assert passing(where, rows("lr", RATES)) == ["1", "2"]


def test_stretch_beyond_an_end_leaves_nobody_out_there():
    values = [0.12345678, 0.5, 0.98765432]
    axis = _axis(range_filter.reference("lr"), values)

    low = range_filter.narrowed("", [axis], {"x": [0, 0], "y": [-0.2, 0.6]})
    all_of_it = range_filter.narrowed(low, [axis], {"x": [0, 0], "y": [-0.2, 1.2]})

    assert passing(low, rows("lr", values)) == ["0", "1"]
    assert all_of_it == ""


@pytest.mark.parametrize("name", ["lr", "odd name", "name", "a.b", "p(x)", "x and y"])
def test_second_stretch_replaces_the_first_and_keeps_the_rest(name):
    axis = _axis(range_filter.reference(name), RATES)
    first = range_filter.narrowed("depth == 18 and `b` > 2", [axis], {"x": [0, 0], "y": [0.3, 0.7]})

    second = range_filter.narrowed(first, [axis], {"x": [0, 0], "y": [0.6, 1.3]})

    assert second.startswith("depth == 18 and `b` > 2 and ")
    assert second.count(range_filter.reference(name)) == 1
    assert passing(second.removeprefix("depth == 18 and `b` > 2 and "), rows(name, RATES)) == ["2", "3"]


@pytest.mark.parametrize("values", [KINDS, [True, False, None], ["a", 1, 2.5]])
def test_stretch_of_words_passes_the_runs_with_these(values):
    axis = _axis(range_filter.reference("kind"), values)
    found = rows("kind", values)
    for height, word in axis["words"]:
        where = range_filter.narrowed("", [axis], {"x": [0, 0], "y": [height - 0.01, height + 0.01]})

        inside = [row for row in found if range_filter.literal(row.params["kind"]) == word]
        assert passing(where, found) == [row.key for row in inside]


def test_box_over_several_axes_narrows_each_and_beside_all_none():
    axes = [_axis(range_filter.reference(name), RATES) for name in ("lr", "decay", "momentum")]

    two = range_filter.narrowed("", axes, {"x": [0.9, 2.1], "y": [0.3, 0.7]})

    assert "`lr`" not in two
    assert "`decay`" in two
    assert "`momentum`" in two
    assert range_filter.narrowed("", axes, {"x": [0.4, 0.6], "y": [0.3, 0.7]}) == ""


def test_name_the_grammar_cannot_say_is_left_alone():
    axis = _axis(range_filter.reference("odd`name"), RATES)

    assert range_filter.narrowed("lr < 1", [axis], {"x": [0, 0], "y": [0.3, 0.7]}) == "lr < 1"
