"""Whatever an event says, it is stored and counted, and every reader of the folder goes on."""

import math

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neural.tracking import ExperimentManager
from neural.tracking.cli import main
from neural.tracking.formats.event_checks import EVENTS, INVALID
from neural.tracking.reader import json_views
from neural.tracking.reader.facts import read_lines
from neural.tracking.reader.run import Run
from neural.tracking.ui.data.catalogue import read_row
from neural.tracking.verify.verify import verify_base, verify_run
from tests.faults.harness import rounds
from tests.made_runs import Emitter, Log, applied, folder_of

DEEP = []
for _ in range(28):
    DEEP = [DEEP]
ODD = [7, -1, 2**63 - 1, 2**64 - 1, 1.5, math.nan, True, b"x\xff", "x", "\x1b[31m<script>", "nobody", [], ["x"]]
ODD += [["x", 1], [["x"]], [None], {}, {"x": ["y"]}, {"x": {b"y": 1}}, {"$float": "NaN"}, {"$map": 5}, DEEP]
USUAL = {
    "open": {"tags": ["a"], "notes": None, "group": None, "settings": {}},
    "params": {"values": {"a": 1}, "as_text": []},
    "text": {"name": "n", "text": "t"},
    "metrics": {"names": ["a"], "values": [1.0]},
    "artifact": {"name": "m", "token": "0" * 32, "how": "copy", "size": 1},
    "figure": {},
    "": {},
}
KEYS = {**{kind: list(keys) for kind, keys in EVENTS.items()}, "metrics": ["names", "values"], "": ["x"]}
KEYS["artifact"] = ["name", "type", "aliases", "metadata", "size", "files", "token", "how", "uri", "lost"]
KEYS["open"] += ["started_ns", "status"]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
DATA = st.sampled_from(sorted(KEYS)).flatmap(
    lambda kind: st.tuples(
        st.just(kind),
        st.dictionaries(st.sampled_from(KEYS[kind] or ["x"]) | st.text(max_size=4), VALUES, max_size=4),
    )
)
TIMES = st.sampled_from([0, -1, -(2**63) + 1, 2**63 - 1])


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Let no reader start a collector: it would go on with the logs that are made by hand."""
    monkeypatch.setenv("NTRACK_MODE", "offline")


def stored(log, *emitters):
    for emitter in emitters:
        log.add(emitter)
    applied(log).close()


def read_in_every_way(folder):
    """Read a run as the commands, the page, the views and the manager do."""
    run = Run(folder)
    assert run.status in ("created", "running", "completed", "failed")
    run.texts()
    read_row(folder)
    json_views.write_views(folder)
    ExperimentManager(folder.parent).get_experiment(run.id)
    for name in json_views.NAMES:
        assert (folder / f"{name}.json").read_bytes()


def commands(base_dir):
    for words in (["runs", "ls"], ["runs", "show", "exp"], ["verify"], ["artifacts", "ls"], ["metrics", "exp"]):
        done = CliRunner().invoke(main, [*words, "--base-dir", str(base_dir)])
        assert done.exception is None or isinstance(done.exception, SystemExit), (words, done.exception)


@pytest.mark.parametrize("kind", sorted(KEYS))
def test_wrong_types_in_an_event_are_stored_and_no_reader_believes_them(tmp_path, kind):
    log = Log(tmp_path / "runs")
    emitter = Emitter().open().metrics({"loss": 1.0})
    count = emitter.seq
    for key in KEYS[kind]:
        for value in ODD:
            if kind == "end" and key == "status":
                continue  # an end is the last event of its session
            emitter.event(kind, **{**USUAL.get(kind, {}), key: value})
            count += 1

    stored(log, emitter)

    folder = folder_of(log, emitter)
    read_in_every_way(folder)
    (session,) = verify_run(folder).sessions
    assert (session.n, session.stored, session.missing) == (count, count, [])
    commands(log.state.base_dir)


def test_event_that_does_not_fit_its_kind_keeps_what_it_said(tmp_path):
    log = Log(tmp_path / "runs")
    emitter = Emitter().open().event("params", values=7)

    stored(log, emitter)

    (line,) = [line for line in read_lines(folder_of(log, emitter), []) if line.get("kind") == INVALID]
    assert line["data"] == {"kind": "params", "reason": "values cannot be used", "data": {"values": 7}}
    assert Run(folder_of(log, emitter)).facts.params == {}


@settings(
    max_examples=rounds(20, 2000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(DATA, TIMES), max_size=30))
def test_any_events_at_any_time(tmp_path_factory, said):
    log = Log(tmp_path_factory.mktemp("any") / "runs")
    emitter = Emitter().open()
    for (kind, data), time_ns in said:
        emitter.event(
            kind,
            time_ns=time_ns,
            **{key: value for key, value in data.items() if key not in ("kind", "step", "time_ns")},
        )

    stored(log, emitter)

    read_in_every_way(folder_of(log, emitter))
    assert verify_base(log.state.base_dir).runs[0].sessions[0].missing == []
