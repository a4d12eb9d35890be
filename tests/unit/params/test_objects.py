"""Which configuration objects keep their names, also nested, and which values in them do not resolve."""

import argparse
import collections
import dataclasses
import types
import typing

import pytest

from neural.tracking.params.plain import plain_params


class Pair(typing.NamedTuple):
    rate: float = 0.1
    depth: int = 3


class Slotted:
    __slots__ = ("rate",)

    def __init__(self):
        self.rate = 0.1


class Config:
    rate = 0.1
    _private = 3

    def method(self):
        return 1

    @property
    def computed(self):
        raise RuntimeError("never asked for")


@dataclasses.dataclass
class Lazy:
    rate: float = 0.1
    path: typing.Any = dataclasses.field(init=False)

    def __getattribute__(self, name):
        if name == "path":
            raise RuntimeError("not mounted")
        return super().__getattribute__(name)


def attrs_class(slots):
    attrs = pytest.importorskip("attrs")

    @attrs.define(slots=slots)
    class Settings:
        rate: float = 0.1

    return Settings()


def pydantic_model():
    pydantic = pytest.importorskip("pydantic")

    class Settings(pydantic.BaseModel, extra="allow"):
        rate: float = 0.1

    return Settings(more=1)


def absl_flags():
    flags = pytest.importorskip("absl.flags")
    mine = flags.FlagValues()
    flags.DEFINE_float("rate", 0.1, "", flag_values=mine)
    mine(["program"])
    return mine


def config_dict(frozen):
    ml_collections = pytest.importorskip("ml_collections")
    kind = ml_collections.FrozenConfigDict if frozen else ml_collections.ConfigDict
    return kind({"rate": 0.1, "model": {"depth": 3}})


def omega(content):
    return pytest.importorskip("omegaconf").OmegaConf.create(content)


KINDS = {
    "named tuple": (Pair, {"rate": 0.1, "depth": 3}),
    "attrs with slots": (lambda: attrs_class(True), {"rate": 0.1}),
    "attrs without slots": (lambda: attrs_class(False), {"rate": 0.1}),
    "pydantic": (pydantic_model, {"rate": 0.1, "more": 1}),
    "absl flags": (absl_flags, {"rate": 0.1}),
    "ConfigDict": (lambda: config_dict(False), {"rate": 0.1, "model": {"depth": 3}}),
    "FrozenConfigDict": (lambda: config_dict(True), {"rate": 0.1, "model": {"depth": 3}}),
    "argparse": (lambda: argparse.Namespace(rate=0.1), {"rate": 0.1}),
    "SimpleNamespace": (lambda: types.SimpleNamespace(rate=0.1), {"rate": 0.1}),
    "ChainMap": (lambda: collections.ChainMap({"rate": 0.1}), {"rate": 0.1}),
    "UserDict": (lambda: collections.UserDict(rate=0.1), {"rate": 0.1}),
    "OmegaConf": (
        lambda: omega({"rate": 0.1, "l": [1, {"a": "${rate}"}]}),
        {"rate": 0.1, "l": [1, {"a": 0.1}]},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_configuration_keeps_its_names_on_top_and_nested(kind):
    make, expected = KINDS[kind]

    assert plain_params(make()) == (expected, [])
    assert plain_params({"in": [make()]}) == ({"in": [expected]}, [])


@pytest.mark.parametrize(("make", "expected"), [(Slotted, {"rate": 0.1}), (Config, {"rate": 0.1})])
def test_object_gives_its_attributes_on_top_also_from_slots_and_its_class(make, expected):
    assert plain_params(make()) == (expected, [])


def test_attributes_of_an_object_win_over_those_of_its_class():
    config = Config()
    config.rate = 0.5

    assert plain_params(config)[0] == {"rate": 0.5}


def test_any_other_object_inside_is_one_text():
    assert plain_params({"x": Config()})[0] == {"x": f"<{__name__}.Config object>"}


@pytest.mark.parametrize(
    ("content", "expected", "as_text"),
    [
        ({"rate": 0.1, "data": {"path": "???"}}, {"rate": 0.1, "data": {"path": "???"}}, ["data.path"]),
        ({"home": "${oc.env:NTRACK_NOT_SET}"}, {"home": "${oc.env:NTRACK_NOT_SET}"}, ["home"]),
        ({"dir": "${hydra:runtime.output_dir}"}, {"dir": "${hydra:runtime.output_dir}"}, ["dir"]),
        ({"a": "${b}", "b": "${a}"}, {"a": "${b}", "b": "${a}"}, ["a", "b"]),
        ({"l": [{"p": "???"}, "${nope}", 3]}, {"l": [{"p": "???"}, "${nope}", 3]}, ["l.0.p", "l.1"]),
    ],
)
def test_value_that_omegaconf_cannot_resolve_is_the_text_that_stands_there(content, expected, as_text):
    assert plain_params(omega(content)) == (expected, as_text)


def test_value_that_ml_collections_still_waits_for_says_so():
    ml_collections = pytest.importorskip("ml_collections")
    config = ml_collections.ConfigDict(
        {"path": ml_collections.config_dict.required_placeholder(str), "rate": 0.1}
    )

    assert plain_params({"c": config}) == (
        {"c": {"path": "<could not be read: RequiredValueError>", "rate": 0.1}},
        ["c.path"],
    )


def test_field_that_raises_says_so_and_the_others_are_kept():
    values, as_text = plain_params({"x": Lazy()})

    assert values == {"x": {"rate": 0.1, "path": "<could not be read: RuntimeError>"}}
    assert as_text == ["x.path"]


class Unreadable(collections.UserDict):
    def __iter__(self):
        raise RuntimeError("gone")


def test_mapping_that_cannot_be_read_says_so_also_on_top():
    told = {"…": "<could not be read: RuntimeError>"}

    assert plain_params(Unreadable()) == (told, ["…"])
    assert plain_params({"x": Unreadable()}) == ({"x": told}, ["x.…"])


class Hostile:
    @property
    def __class__(self):
        raise RuntimeError("a proxy of nothing")


def test_object_that_does_not_even_say_what_it_is_stops_nothing():
    values, as_text = plain_params({"x": Hostile(), "rate": 0.1})

    assert values == {"x": "<could not be read: RuntimeError>", "rate": 0.1}
    assert as_text == ["x"]
