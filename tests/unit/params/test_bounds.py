"""Parameters that refer to themselves, are too many or too large, or print differently every time."""

import dataclasses
import functools
import http
import signal
import subprocess
import sys

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.tracking.formats import events
from neural.tracking.params.plain import merge_params, param_events, plain_params
from neural.tracking.params.traversal import MAX_VALUES


@dataclasses.dataclass
class Node:
    name: str
    parent: "Node | None" = None
    children: list = dataclasses.field(default_factory=list)


def tree(count):
    root = Node("model")
    root.children = [Node(f"layer{i}", root) for i in range(count)]
    return root


def shared(depth, make):
    """Return an object with that many levels; each level contains the next one twice."""
    found = make(None)
    for _ in range(depth):
        found = make(found)
    return found


def united(found):
    """Return the values of all events of one call, after each is packed and read."""
    values, as_text = {}, []
    for data in found.events:
        packed = events.pack_event_data("params", data)
        read = events.unpack_map(packed)
        values = merge_params(values, read["values"])
        as_text += read["as_text"]
    return values, as_text


def test_child_that_knows_its_parent_refers_back():
    values, as_text = plain_params({"model": tree(2)})

    children = [{"name": f"layer{i}", "parent": "<refers back to model>", "children": []} for i in (0, 1)]
    assert values == {"model": {"name": "model", "parent": None, "children": children}}
    assert as_text == ["model.children.0.parent", "model.children.1.parent"]


def test_parameters_that_hold_themselves_refer_back_to_the_whole():
    loop = {"rate": 0.1}
    loop["self"] = loop

    assert plain_params(loop)[0] == {"rate": 0.1, "self": "<refers back to the whole>"}


def test_object_in_two_places_is_shown_in_both():
    one = {"rate": 0.1}

    assert plain_params({"a": one, "b": [one, one]})[0] == {"a": {"rate": 0.1}, "b": [{"rate": 0.1}] * 2}


@pytest.mark.parametrize("depth", [20, 60])
@pytest.mark.parametrize(
    "make",
    [
        lambda below: {} if below is None else {"a": below, "b": below},
        lambda below: [] if below is None else [below, below],
        lambda below: Node("leaf") if below is None else Node("node", below, [below]),
    ],
    ids=["dict", "list", "dataclass"],
)
def test_few_objects_that_are_a_tree_of_billions_end(make, depth):
    found = param_events({"x": shared(depth, make)})

    values, _ = united(found)
    assert found.left_out
    assert len(str(values)) < 20_000_000


def test_list_of_very_many_says_how_many_are_left_out():
    found = param_events({"x": [0] * 10**7, "rate": 0.1})

    values, as_text = united(found)
    kept = values["x"][:-1]
    assert found.left_out
    assert values["x"][-1] == f"{10**7 - len(kept):,} more left out"
    assert 10_000 < len(kept) <= MAX_VALUES
    assert as_text == [f"x.{len(kept)}"]
    assert values["rate"] == 0.1


def test_what_follows_a_value_that_is_too_large_is_kept():
    words = {f"word {i}": i for i in range(10**6)}

    values, _ = united(param_events({"a": words, "b": {"c": words, "d": words, "rate": 0.1}, "seed": 1}))

    assert values["seed"] == 1
    assert values["b"]["rate"] == 0.1
    assert all(len(one) > 1000 for one in (values["a"], values["b"]["c"], values["b"]["d"]))


def test_names_and_numbers_of_very_many_classes_are_kept_both():
    names = {i: f"n{i:08d}, common name of {i}" for i in range(21_841)}
    numbers = {name: i for i, name in names.items()}

    found = param_events({"model": {"id2label": names, "label2id": numbers}, "rate": 0.1})

    values, as_text = united(found)
    assert not found.left_out
    assert values["model"]["id2label"] == {str(i): name for i, name in names.items()}
    assert values["model"]["label2id"] == numbers
    assert as_text == []


class Odd(int):
    """An object whose comparisons are inconsistent."""

    def __eq__(self, other):
        raise ValueError("not comparable")

    __hash__ = int.__hash__


@pytest.mark.parametrize(
    ("value", "kept"),
    [(signal.SIGTERM, 15), (http.HTTPStatus.OK, 200), (Odd(3), 3), (Odd(2**70), str(2**70)), (True, True)],
)
def test_kinds_of_integers_are_the_integers_they_are(value, kept):
    values, _ = united(param_events({"value": value, "rate": 0.1}))

    assert values == {"value": kept, "rate": 0.1}
    assert type(values["value"]) is type(kept)


def test_dict_of_very_many_says_how_many_are_left_out():
    found = param_events({"x": {i: i for i in range(200_000)}})

    values, as_text = united(found)
    kept = len(values["x"]) - 1
    assert 10_000 < kept <= MAX_VALUES
    assert values["x"]["…"] == f"{200_000 - kept:,} more left out"
    assert as_text == ["x.…"]


def test_list_too_large_for_an_event_is_kept_as_far_as_it_fits():
    found = param_events({"x": ["y" * 1000] * 1000, "rate": 0.1})

    values, _ = united(found)
    kept = len(values["x"]) - 1
    assert 100 < kept < 260
    assert values["x"][-1] == f"{1000 - kept} more left out"
    assert values["rate"] == 0.1


def test_names_of_all_classes_of_a_large_data_set_are_kept_in_several_events():
    labels = {i: f"n{i:08d} some kind of a thing" for i in range(21_841)}
    given = {"id2label": labels, "label2id": {name: i for i, name in labels.items()}, "rate": 0.1}

    found = param_events(given)

    assert len(found.events) > 1
    assert [data["part"] for data in found.events] == [
        [n + 1, len(found.events)] for n in range(len(found.events))
    ]
    assert not found.left_out
    expected = {**given, "id2label": {str(i): name for i, name in labels.items()}}
    assert united(found) == (expected, [])


def test_usual_parameters_are_one_event_that_says_nothing_of_parts():
    assert param_events({"rate": 0.1}).events == [{"values": {"rate": 0.1}, "as_text": []}]
    assert param_events({}).events == []


def test_marks_travel_with_what_they_mark():
    given = {f"k{i}": [{"o": Node}, "x" * 1000] for i in range(600)}

    found = param_events(given)

    assert len(found.events) > 2
    for data in found.events:
        assert data["as_text"] == [f"{name}.0.o" for name in data["values"]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((500, 2000), np.float32), "<ndarray of float32, 500×2000>"),
        (bytes(10**8), "<bytes of 100,000,000 bytes>"),
        (set(range(10**6)), "<set of 1,000,000 items>"),
        (1 << 10**6, "<int of 1,000,001 bits>"),
        (range(10**9), "range(0, 1000000000)"),
    ],
    ids=["array", "bytes", "set", "int", "range"],
)
def test_huge_value_is_told_by_what_it_is(value, text):
    assert plain_params({"x": value}) == ({"x": text}, ["x"])


def test_small_tensor_is_its_values_and_a_large_one_its_shape():
    class Array:
        shape, dtype = (2,), "int8"

        def tolist(self):
            return [1, 2]

    class Large(Array):
        shape = (3000, 2)

    class Empty(Array):
        def tolist(self):
            raise RuntimeError("no data: it is on the device meta")

    assert plain_params({"x": Array(), "y": Large(), "z": Empty()})[0] == {
        "x": [1, 2],
        "y": "<Large of int8, 3000×2>",
        "z": "<Empty of int8, 2>",
    }


def test_long_text_is_cut_with_a_mark():
    values, as_text = plain_params({"x": "é" * 10**6, "y": "z" * 150_000})

    assert values["x"].endswith("é … [cut: 1,000,000 characters]")
    assert len(values["x"].encode()) <= 200 << 10
    assert values["y"] == "z" * 150_000
    assert as_text == ["x"]


def test_names_of_the_same_text_are_both_kept():
    assert plain_params({1: "a", "1": "b"})[0] == {"1": "a", "1 (2)": "b"}
    assert plain_params({None: 1, "None": 2})[0] == {"None": 1, "None (2)": 2}


def test_value_nested_too_deep_is_told_without_its_text():
    deep = shared(60, lambda below: [] if below is None else [below])

    values, as_text = plain_params({"x": deep})

    assert str(values).count("<list, nested deeper than 24>") == 1
    assert len(as_text) == 1


PRINTED_AGAIN = """
import functools, json
from neural.tracking.params.plain import plain_params
class Act: pass
def collate(): pass
class Own:
    def __repr__(self): return f"Own({id(self)}, {id(self):#x})"
names = ["q_proj", "k_proj", "v_proj", "o_proj"]
print(json.dumps(plain_params({
    "targets": set(names), "frozen": frozenset(names), "pairs": {(n, frozenset(names)) for n in names},
    "init": functools.partial(collate, 1), "act": Act(), "f": lambda x: x, "own": Own(),
    "bound": Act().__init__, "acts": {Act()}, frozenset(names): 1, "iterator": iter([]), 
    "weak": __import__("weakref").ref(Act),
})))
"""


def test_text_is_the_same_in_every_process():
    told = {
        subprocess.run(
            [sys.executable, "-c", f"x = bytearray({3**n})\n{PRINTED_AGAIN}"],
            env={"PYTHONHASHSEED": str(n)},
            capture_output=True,
            check=True,
        ).stdout
        for n in range(3, 6)
    }

    assert len(told) == 1
    assert b"0x7" not in told.pop()


def test_set_is_written_in_order():
    values, as_text = plain_params({"x": {"b", "a", "c"}, "y": frozenset(), "z": {2, 1}})

    assert values == {"x": "{'a', 'b', 'c'}", "y": "frozenset()", "z": "{1, 2}"}
    assert as_text == ["x", "y", "z"]


def test_function_is_told_by_where_it_is_from():
    assert plain_params({"x": tree, "y": functools.partial(tree, 1)})[0] == {
        "x": f"<function {__name__}.tree>",
        "y": "functools.partial(<function tree>, 1)",
    }


LARGE = {
    "<text>": "é" * 70_000,
    "<very long text>": "x" * 10**6,
    "<object>": object(),
    "<list>": [0.5] * 30_000,
    "<dict>": {str(i): i for i in range(9000)},
    "<long name>": "long" * 200,
}
LARGE_ONES = st.sampled_from(list(LARGE))  # by name, because pytest prints what fails
KEYS = st.text(max_size=30) | st.integers() | st.none() | LARGE_ONES
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=90) | LARGE_ONES
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=40
)


def grown(given):
    """Return the object with its placeholders replaced by large values."""
    if isinstance(given, dict):
        return {(LARGE["<long name>"] if key in LARGE else key): grown(item) for key, item in given.items()}
    if isinstance(given, list):
        return [grown(item) for item in given]
    return LARGE.get(given, given) if isinstance(given, str) else given


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_whatever_is_given_fits_its_events_and_is_read_back_as_one(given):
    params = grown(given)
    values, as_text = plain_params(params)

    read, marks = united(param_events(params))

    assert msgpack.packb(read) == msgpack.packb(values)
    assert marks == as_text
