"""How values become hyperparameters."""

import argparse
import dataclasses
import enum
import math
from collections import OrderedDict

import msgpack
import numpy as np
import pytest

from neural.tracking.params.plain import flat_params, merge_params, plain_params


@dataclasses.dataclass
class Settings:
    rate: float = 0.1
    layers: tuple[int, ...] = (64, 32)


class Optimizer(enum.Enum):
    ADAM = 1


class Schedule(enum.StrEnum):
    COSINE = "cosine"


class Raises:
    def __str__(self):
        raise RuntimeError("no text for you")


def values_of(given):
    return plain_params(given)[0]


def test_nested_dict_stays_nested():
    assert values_of({"optimizer": {"name": "adam", "betas": [0.9, 0.999]}}) == {
        "optimizer": {"name": "adam", "betas": [0.9, 0.999]}
    }


def test_argparse_namespace_gives_its_attributes():
    assert values_of(argparse.Namespace(rate=0.1, layers=[64])) == {"rate": 0.1, "layers": [64]}


def test_dataclass_gives_its_fields():
    assert values_of(Settings()) == {"rate": 0.1, "layers": [64, 32]}


def test_dataclass_inside_a_dict_gives_its_fields():
    assert values_of({"model": Settings()}) == {"model": {"rate": 0.1, "layers": [64, 32]}}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.float32(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.int64(7), 7),
        (np.uint8(7), 7),
        (np.bool_(True), True),
        (np.str_("adam"), "adam"),
        (np.array(3.0), 3.0),
        (np.array([1, 2]), [1, 2]),
    ],
)
def test_numpy_value_becomes_python_s(given, kept):
    found = values_of({"x": given})["x"]

    assert found == kept
    assert type(found) is type(kept)


@pytest.mark.parametrize("value", [None, True, 3, 2.5, "text", [1, [2]], {"a": {}}])
def test_json_value_stays_and_is_not_marked(value):
    assert plain_params({"x": value}) == ({"x": value}, [])


@pytest.mark.parametrize(
    "value",
    [Optimizer.ADAM, {1, 2}, b"bytes", 1 + 2j, 10**400, object(), len, Settings, np.arange(5000), Raises()],
    ids=lambda value: type(value).__name__,
)
def test_value_without_a_json_type_becomes_marked_text(value):
    values, as_text = plain_params({"outer": {"x": value}})

    assert isinstance(values["outer"]["x"], str)
    assert as_text == ["outer.x"]


def test_enum_that_is_text_stays_its_value():
    assert plain_params({"x": Schedule.COSINE}) == ({"x": "cosine"}, [])


def test_item_of_a_list_is_marked_by_its_index():
    assert plain_params({"x": [1, Optimizer.ADAM]}) == ({"x": [1, "Optimizer.ADAM"]}, ["x.1"])


def test_names_that_are_no_text_become_text():
    assert values_of({1: "a", None: "b", (2, 3): "c"}) == {"1": "a", "None": "b", "(2, 3)": "c"}


def test_value_that_holds_itself_ends():
    loop = {}
    loop["self"] = loop

    values, as_text = plain_params(loop)

    assert len(as_text) == 1
    msgpack.packb(values)


def test_text_that_is_no_unicode_is_kept_readable():
    values, as_text = plain_params({"x": "file-\udcff"})

    assert values["x"].encode() == b"file-\\udcff"
    assert as_text == ["x"]


def test_nan_stays_a_float():
    assert math.isnan(values_of({"x": float("nan")})["x"])


@pytest.mark.parametrize("given", [3, "text", [1, 2], None, Settings, len, np.arange(3)])
def test_parameters_without_names_are_refused(given):
    with pytest.raises(TypeError, match=r"must have names for their values"):
        plain_params(given)


def test_merge_unites_nested_and_replaces_the_rest():
    base = {"model": {"depth": 2, "width": 8}, "rate": 0.1}

    merged = merge_params(base, {"model": {"depth": 3}, "rate": 0.2, "new": 1})

    assert merged == {"model": {"depth": 3, "width": 8}, "rate": 0.2, "new": 1}
    assert base == {"model": {"depth": 2, "width": 8}, "rate": 0.1}


def test_flat_names_are_dotted():
    assert flat_params(OrderedDict(a={"b": {"c": 1}}, d=[1], e={})) == {"a.b.c": 1, "d": [1], "e": {}}
