"""The filter of the table of runs."""

from pathlib import Path

import pytest

from neural.tracking.errors import QueryError
from neural.tracking.ui.data.catalogue import Row
from neural.tracking.ui.data.query import compile_query

RUN = Row(
    key="1a2b3c4d",
    folder=Path("resnet_1a2b3c4d"),
    name="resnet",
    id="1a2b3c4d",
    status="completed",
    duration_s=90.0,
    params={"lr": 0.01, "optimizer.name": "adam", "depth": "18", "odd name": 3, "fp16": True, "none": None},
    metrics={
        "val/loss": {"last": 0.4, "min": 0.2, "max": 1.5},
        "bad": {"last": "NaN", "min": None, "max": None},
    },
    tags=("sweep", "baseline"),
    group="first try",
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lr < 0.02",
        "lr <= .01 and lr >= 1e-2",
        "0.001 < lr < 0.1",
        'status == "completed"',
        "status = 'completed' and not lr > 1",
        'optimizer.name == "adam" or lr > 5',
        "val/loss < 0.5",
        "val/loss.min <= 0.2 and val/loss.max > 1",
        "depth == 18",
        "depth < 20",
        "`odd name` == 3",
        '"sweep" in tags',
        'tags == "baseline"',
        'name contains "RES"',
        "duration > 60",
        "not (lr > 1 or status == 'failed')",
        "resnet",
        "swe",
        "1a2b",
        '"first try"',
        "fp16",
        "fp16 == true",
        "missing != 3",
        "params.lr == 0.01",
        "metrics.val/loss == 0.4",
        "bad != 1",
    ],
)
def test_run_passes(text):
    assert compile_query(text)(RUN)


@pytest.mark.parametrize(
    "text",
    [
        "lr > 0.02",
        "lr < 0.02 and status == 'failed'",
        "missing < 3",
        "missing > 3",
        "missing == 3",
        "none < 1",
        "optimizer.name < 3",
        "bad < 1",
        "bad > 1",
        "bad == 1",
        '"nightly" in tags',
        "vgg",
        "not resnet",
        "0.02 < lr < 0.1",
    ],
)
def test_run_does_not_pass(text):
    assert not compile_query(text)(RUN)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lr <", "ends where"),
        ("< 3", "instead of '<'"),
        ("(lr < 3", "not closed"),
        ("lr < 3 lr > 1", "unexpected 'lr'"),
        ("lr < 3)", "unexpected"),
        ('name == "open', "cannot read"),
        ("and", "instead of 'and'"),
        ("(" * 100 + "lr" + ")" * 100, "nested too deeply"),
        ("not " * 100 + "lr", "nested too deeply"),
        ("x" * 2000, "the limit is 1000"),
    ],
)
def test_what_cannot_be_understood_is_told(text, told):
    with pytest.raises(QueryError, match="(?s).*" + told.replace("(", r"\(")):
        compile_query(text)


def test_python_in_a_filter_is_only_text(tmp_path):
    trace = tmp_path / "was evaluated"
    touch = f"__import__('pathlib').Path({str(trace)!r}).touch()"
    for text in (
        touch,
        f"[{touch} for x in (1,)]",
        f"(lambda: {touch})()",
        f"lr > {touch}",
        "lr.__class__",
        "name[0]",
    ):
        try:
            compile_query(text)(RUN)
        except QueryError:
            continue
    assert not trace.exists()
