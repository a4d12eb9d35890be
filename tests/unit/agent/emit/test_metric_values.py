"""What a log call accepts and refuses; its error names the metric and the limit."""

import decimal
import fractions
import math

import numpy as np
import pytest

from neural.tracking.errors import PayloadTooLargeError
from tests.unit.agent.made import make_emitter, recover


@pytest.fixture
def emitter(tmp_path):
    return make_emitter(tmp_path)


def logged(emitter):
    """Return the only event's content."""
    found, lost = recover(emitter.outbox.folder)
    assert not lost
    return found[0][2]


@pytest.mark.parametrize(
    "value",
    [
        *(None, "1.5", b"1", 1j, [1.0], object(), lambda: 1),
        *(np.complex128(1 + 2j), np.str_("1.5"), np.datetime64("2024-01-01"), np.timedelta64(5, "s")),
        *(np.array([1.0, 2.0]), np.array(["a"]), np.array(1j)),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_value_that_is_no_real_number_is_refused_by_name(emitter, value):
    emitter.emit_metrics({"good": 1.0, "bad": 1.0})

    with pytest.raises(TypeError, match="'bad'"):
        emitter.emit_metrics({"good": 1.0, "bad": value})

    assert emitter.emitted == 1


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (True, 1.0),
        (False, 0.0),
        (3, 3.0),
        (2**53 + 1, float(2**53)),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float16(0.5), 0.5),
        (np.int64(-7), -7.0),
        (np.uint8(200), 200.0),
        (np.bool_(True), 1.0),
        (np.array(2.5), 2.5),
        (np.array([2.5]), 2.5),
        (np.longdouble(1.5), 1.5),
        (decimal.Decimal("0.5"), 0.5),
        (fractions.Fraction(1, 4), 0.25),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (5e-324, 5e-324),
    ],
    ids=repr,
)
def test_real_numbers_of_every_kind_are_kept_as_the_nearest_float64(emitter, value, stored):
    for _ in range(2):  # the slow path, then the hot path
        emitter.emit_metrics({"m": value})

    found, _ = recover(emitter.outbox.folder)
    assert [content for _, _, content in found] == [{"m": stored}] * 2


def test_nan_keeps_being_nan(emitter):
    emitter.emit_metrics({"m": math.nan})

    assert math.isnan(logged(emitter)["m"])


@pytest.mark.filterwarnings("error")
def test_infinities_of_both_signs_together_raise_no_warning(emitter):
    values = {
        "a": np.float64(math.inf),
        "b": np.float64(-math.inf),
        "c": np.float32(3e38),
        "d": np.float32(3e38),
    }

    for _ in range(2):
        assert emitter.emit_metrics(values)


@pytest.mark.parametrize("known", [False, True])
def test_integer_that_no_float64_holds_is_refused_by_name_and_limit(emitter, known):
    if known:
        emitter.emit_metrics({"good": 1.0, "huge": 1})

    with pytest.raises(ValueError, match=r"'huge'.*1\.8e308"):
        emitter.emit_metrics({"good": 1.0, "huge": 10**400})


@pytest.mark.parametrize(
    ("name", "reason"),
    [("", "empty"), ("a\0b", "control"), ("x" * 300, "300 bytes.*256 bytes"), ("é" * 129, "258 bytes")],
)
def test_name_that_cannot_be_stored_is_refused_with_the_reason(emitter, name, reason):
    with pytest.raises(ValueError, match=reason):
        emitter.emit_metrics({name: 1.0})


@pytest.mark.parametrize("name", [1, None, b"loss", ("a", "b")])
def test_name_that_is_no_text_is_refused(emitter, name):
    with pytest.raises(TypeError, match="metric name must be text"):
        emitter.emit_metrics({name: 1.0})


@pytest.mark.parametrize("name", ["../../etc/passwd", "🙂", "a b", "日本", "a/b/c", "x" * 256, "-", "NaN"])
def test_strange_names_are_only_text(emitter, name):
    emitter.emit_metrics({name: 1.0})

    assert logged(emitter) == {name: 1.0}


@pytest.mark.parametrize("metrics", [[("a", 1)], "loss", 5, None, {"a"}])
def test_metrics_that_are_no_mapping_are_refused(emitter, metrics):
    with pytest.raises(TypeError, match="must be a mapping"):
        emitter.emit_metrics(metrics)


def test_one_metric_too_many_is_refused_with_the_limit(emitter):
    assert emitter.emit_metrics({f"m{i}": 1.0 for i in range(10_000)})

    with pytest.raises(ValueError, match="10,000"):
        emitter.emit_metrics({f"m{i}": 1.0 for i in range(10_001)})


def test_too_many_bytes_of_names_are_refused_with_the_limit(emitter):
    with pytest.raises(ValueError, match="65536 bytes"):
        emitter.emit_metrics({f"{i:0250d}": 1.0 for i in range(300)})


def test_nested_metrics_are_flattened(emitter):
    emitter.emit_metrics({"train": {"loss": 1, "top": {"k1": 2}}, "lr": 3})

    assert logged(emitter) == {"train/loss": 1.0, "train/top/k1": 2.0, "lr": 3.0}


def test_name_given_flat_and_nested_is_refused(emitter):
    with pytest.raises(ValueError, match="'a/b' is given twice"):
        emitter.emit_metrics({"a/b": 1.0, "a": {"b": 2.0}})


def test_mapping_that_contains_itself_is_refused(emitter):
    endless = {}
    endless["a"] = endless

    with pytest.raises(ValueError, match="nested deeper"):
        emitter.emit_metrics(endless)


def test_empty_mapping_makes_no_event(emitter):
    assert emitter.emit_metrics({})
    assert emitter.emit_metrics({"a": {}})

    assert emitter.emitted == 0


@pytest.mark.parametrize("step", [1.5, "3", None, [], 1j, math.nan, math.inf, np.float32(0.1)], ids=repr)
def test_step_that_is_no_integer_is_refused(emitter, step):
    emitter.emit_metrics({"m": 1.0})
    if step is not None:
        with pytest.raises(TypeError, match="step must be an integer"):
            emitter.emit_metrics({"m": 1.0}, step)


@pytest.mark.parametrize("step", [2**63, -(2**64), 1e300])
def test_step_over_64_bits_is_refused(emitter, step):
    emitter.emit_metrics({"m": 1.0})

    with pytest.raises(ValueError, match="step"):
        emitter.emit_metrics({"m": 1.0}, step)


def test_steps_repeat_and_go_back(emitter):
    for step in (5, 5, -3, 2**63 - 1, np.int64(7), True, 3.0, np.float32(5.0), np.float64(-0.0)):
        emitter.emit_metrics({"m": 1.0}, step)

    found, _ = recover(emitter.outbox.folder)
    assert [step for _, step, _ in found] == [5, 5, -3, 2**63 - 1, 7, 1, 3, 5, 0]


def test_default_step_counts_this_sessions_metrics_calls(emitter):
    emitter.emit_metrics({"m": 1.0})
    emitter.emit("text", {"name": "note", "text": "x"})
    emitter.emit_metrics({})
    emitter.emit_metrics({"m": 1.0}, step=50)
    emitter.emit_metrics({"m": 1.0})
    emitter.next_step = 100
    emitter.emit_metrics({"m": 1.0})
    emitter.emit_metrics({"other": 1.0})

    found, _ = recover(emitter.outbox.folder)
    assert [step for _, step, content in found if "text" not in content] == [0, 50, 2, 100, 101]


def test_user_code_that_raises_is_named(emitter):
    class Rude:
        def __float__(self):
            raise RuntimeError("no")

    with pytest.raises(TypeError, match="'bad'"):
        emitter.emit_metrics({"bad": Rude()})


def test_event_over_the_limit_is_refused_with_both_sizes(emitter):
    with pytest.raises(PayloadTooLargeError, match="262144"):
        emitter.emit("text", {"name": "n", "text": "x" * (256 << 10)})

    assert emitter.emitted == 0


def nested(depth):
    return {} if depth == 0 else {"x": nested(depth - 1)}


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("text", {"m": {1: 2}}),
        ("text", nested(40)),
        ("text", {"kind": 5}),
        ("metrics", {"names": ["a"], "values": ["b"]}),
        (5, {}),
    ],
)
def test_event_that_no_reader_could_unpack_is_refused(emitter, kind, data):
    with pytest.raises((TypeError, ValueError)):
        emitter.emit(kind, data)

    assert emitter.emitted == 0
