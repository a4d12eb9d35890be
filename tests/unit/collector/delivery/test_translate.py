"""The events that a sink receives for the content of logs and run folders. No files, no processes."""

from pathlib import Path

from neural.tracking.collector.delivery import translate
from neural.tracking.collector.delivery.run_status import StatusChange
from neural.tracking.collector.log.items import EventBatch, LoggedSession
from neural.tracking.formats.events import NO_STEP
from neural.tracking.reader.event_replay import Emitted
from neural.tracking.sinks.base import RunEvent, RunInfo
from tests.made_runs import START_NS, Emitter

RUN = RunInfo("ab" * 16, "train", Path("/runs/train_abababab"))
SESSION = "cd" * 16


def batch_of(emitter, schemas=None):
    """Return the emitter's events as a batch of the log; without ``schemas`` all used ones are known."""
    known = {number: names for names, number in emitter.schemas.items()} if schemas is None else schemas
    session = LoggedSession(emitter.session, emitter.uid, emitter.info, known)
    _, first, last, base, payload = emitter.batch()
    return EventBatch(session, first, last, base, memoryview(payload))


def test_log_events_are_in_the_order_of_their_numbers_whatever_their_kind():
    emitter = Emitter().open().metrics({"a": 1.0}, step=7).event("text", name="n", text="t").metrics({"b": 2.0})

    found = translate.log_events(batch_of(emitter), after=0)

    assert [(event.seq, event.kind) for event in found] == [
        (1, "open"),
        (2, "metrics"),
        (3, "text"),
        (4, "metrics"),
    ]
    assert found[1] == Emitted(emitter.session.hex(), 2, found[1].time_ns, 7, "metrics", {"a": 1.0})


def test_log_events_that_were_taken_are_left_out():
    emitter = Emitter().open().metrics({"a": 1.0}).metrics({"a": 2.0})

    found = translate.log_events(batch_of(emitter), after=2)

    assert [event.data for event in found] == [{"a": 2.0}]


def test_metrics_without_a_step_have_none():
    (found,) = translate.log_events(batch_of(Emitter().metrics({"a": 1.0}, step=NO_STEP)), after=0)

    assert found.step is None


def test_of_a_batch_with_an_unknown_schema_the_other_events_remain():
    emitter = Emitter().open().metrics({"known": 1.0}).metrics({"lost": 2.0})
    known = {emitter.schemas[("known",)]: ("known",)}

    found = translate.log_events(batch_of(emitter, known), after=0)

    assert [(event.seq, event.kind) for event in found] == [(1, "open"), (2, "metrics")]


def test_event_of_a_session_has_its_run_and_rank():
    event = Emitted(SESSION, 3, START_NS, 5, "metrics", {"a": 1.0})

    assert translate.run_event(RUN, 2, event) == RunEvent(
        RUN, SESSION, 2, 3, START_NS, 5, "metrics", {"a": 1.0}
    )


def test_status_is_an_event_of_no_session_with_number_0():
    change = StatusChange("failed", "it broke", True, START_NS)

    event = translate.status_event(RUN, change, START_NS)

    assert (event.session, event.rank, event.seq, event.time_ns, event.kind) == ("", 0, 0, START_NS, "status")
    assert event.data == {"status": "failed", "error": "it broke", "ended": True}


def test_stored_artifact_has_what_the_call_and_the_outcome_say_and_the_call_s_number():
    data = {"name": "model", "type": "model", "aliases": ["best"], "metadata": {"acc": 0.9}}
    call = {"session": SESSION, "seq": 4, "time_ns": START_NS, "step": 9, "call": data}
    outcome = {"version": 2, "path": "artifacts/model/v2/model.pt", "sha256": "ee" * 32, "size": 10}

    event = translate.artifact_event(RUN, 1, call, outcome)

    assert (event.session, event.rank, event.seq, event.step, event.kind) == (SESSION, 1, 4, 9, "artifact")
    assert event.data == {
        "name": "model",
        "version": 2,
        "path": "/runs/train_abababab/artifacts/model/v2/model.pt",
        "checksum": "ee" * 32,
        "size": 10,
        "type": "model",
        "aliases": ["best"],
        "metadata": {"acc": 0.9},
        "uri": None,
    }


def test_picture_is_a_figure_numbered_below_zero():
    path = RUN.folder / "plots" / "auto_loss.png"

    event = translate.plot_event(RUN, 3, path, "ff" * 32, 1234, START_NS)

    assert (event.session, event.seq, event.kind) == ("", -3, "artifact")
    assert {key: event.data[key] for key in ("name", "path", "type", "size", "picture")} == {
        "name": "auto_loss.png",
        "path": str(path),
        "type": "figure",
        "size": 1234,
        "picture": "ff" * 32,
    }


def test_dead_letter_gives_back_the_event_it_was_made_of():
    event = RunEvent(RUN, SESSION, 1, 5, START_NS, 6, "text", {"name": "n", "text": "t"})
    letter = {key: getattr(event, key) for key in ("session", "rank", "seq", "time_ns", "step", "kind", "data")}

    assert translate.dead_letter_event(RUN, letter) == event
