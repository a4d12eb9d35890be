"""What a reader returns of a run: values, order, ranks, status, texts."""

import math

import numpy as np
import pytest

from neural.tracking.core.times import iso_time
from neural.tracking.formats.events import NO_STEP
from neural.tracking.reader.run import Run
from neural.tracking.reader.run_list import find_run, list_runs
from tests.made_runs import SECOND, START_NS, Emitter, applied, folder_of, values


def stored(log, *emitters):
    for emitter in emitters:
        log.add(emitter)
    applied(log).close()
    return Run(folder_of(log, emitters[0]))


def rank(first, number, **more):
    return Emitter(first.uid, rank=number, role="rank", **more)


def test_values_come_in_the_order_they_were_logged(log):
    run = stored(
        log, Emitter().metrics({"a": 3.0}, step=9).metrics({"a": 1.0}, step=2).metrics({"a": 2.0}, step=9)
    )

    columns = run.metric("a")

    assert values(columns) == [3.0, 1.0, 2.0]
    assert columns.step.tolist() == [9, 2, 9]


def test_order_holds_where_two_sets_of_names_alternate(log):
    emitter = Emitter()
    for i in range(50):
        emitter.metrics({"a": float(i)} if i % 2 else {"a": float(i), "b": 0.0})

    assert values(stored(log, emitter).metric("a")) == [float(i) for i in range(50)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e308])
def test_every_float_comes_back_bit_for_bit(log, value):
    run = stored(log, Emitter().metrics({"a": value}))

    assert run.metric("a").value.tobytes() == np.array([value]).tobytes()


def test_unknown_metric_has_no_points(log):
    assert len(stored(log, Emitter().metrics({"a": 1.0})).metric("b")) == 0


def test_mean_over_ranks_is_by_step_in_step_order(log):
    zero = Emitter().metrics({"a": 1.0}, step=1).metrics({"a": 5.0}, step=0)
    one = rank(zero, 1).metrics({"a": 3.0}, step=1)

    columns = stored(log, zero, one).metric("a")

    assert columns.step.tolist() == [0, 1]
    assert values(columns) == [5.0, 2.0]


def test_least_greatest_and_single_ranks(log):
    zero = Emitter().metrics({"a": 1.0}, step=0).metrics({"a": math.nan}, step=1)
    one = rank(zero, 1).metrics({"a": 3.0}, step=0).metrics({"a": 4.0}, step=1)
    run = stored(log, zero, one)

    assert values(run.metric("a", ranks="min")) == [1.0, 4.0]
    assert values(run.metric("a", ranks="max")) == [3.0, 4.0]
    assert values(run.metric("a", ranks=1)) == [3.0, 4.0]
    assert sorted(run.metric("a", ranks="all").rank.tolist()) == [0, 0, 1, 1]


def test_several_sessions_are_ordered_by_time(log):
    first = Emitter().metrics({"a": 1.0}, time_ns=START_NS).metrics({"a": 3.0}, time_ns=START_NS + 2)
    second = Emitter(first.uid, attempt=1).metrics({"a": 2.0}, time_ns=START_NS + 1)

    assert values(stored(log, first, second).metric("a")) == [1.0, 2.0, 3.0]


def test_wrong_ranks_are_refused(log):
    with pytest.raises(ValueError, match="'mean', 'all'"):
        stored(log, Emitter().metrics({"a": 1.0})).metric("a", ranks="median")


def test_nan_never_is_the_best(log):
    run = stored(log, Emitter().metrics({"a": math.nan}).metrics({"a": 1.0}).metrics({"a": 2.0}))

    assert run.best_metric("a") == (2.0, 2)
    assert run.best_metric("a", "min") == (1.0, 1)


def test_best_of_nothing_is_nothing(log):
    run = stored(log, Emitter().metrics({"a": math.nan}))

    assert run.best_metric("a") == (None, None)
    assert run.best_metric("b") == (None, None)


def test_history_has_one_flat_dict_a_call(log):
    run = stored(log, Emitter().metrics({"b": 1.0, "a": 2.0}).metrics({"a": 3.0}, step=7))

    assert run.metrics_history() == [
        {"timestamp": iso_time(START_NS + SECOND), "step": 0, "a": 2.0, "b": 1.0},
        {"timestamp": iso_time(START_NS + 2 * SECOND), "step": 7, "a": 3.0},
    ]
    assert run.metrics_history(limit=1) == run.metrics_history()[:1]


def test_call_without_a_step_has_none(log):
    run = stored(log, Emitter().metrics({"a": 1.0}, step=NO_STEP))

    assert run.metrics_history()[0]["step"] is None
    assert run.best_metric("a") == (1.0, None)


def test_texts_parameters_tags_and_notes(log):
    emitter = Emitter().open(tags=["x"], notes="old", group="g", settings={"backend": []})
    emitter.event("params", values={"lr": 0.1, "net": {"depth": 2}}, as_text=["lr"])
    emitter.event("params", values={"net": {"width": 3}}, as_text=[])
    emitter.event("tags", add=["x", "y"]).event("notes", notes="new")
    emitter.event("text", name="n", text="t", step=4)
    run = stored(log, emitter)

    assert run.params == {"lr": 0.1, "net": {"depth": 2, "width": 3}}
    assert [call["values"] for call in run.params_history][1] == {"net": {"width": 3}}
    assert (run.tags, run.notes, run.group) == (["x", "y"], "new", "g")
    assert run.metadata["hyperparameters_as_text"] == ["lr"]
    assert [(t["name"], t["text"], t["step"]) for t in run.texts("n")] == [("n", "t", 4)]
    assert run.texts("other") == []


def test_parameters_that_came_in_parts_are_one_call_of_the_history(log):
    emitter = Emitter().open()
    emitter.event("params", values={"lr": 0.1}, as_text=[])
    emitter.event("params", values={"net": {"a": 1}, "x": [1]}, as_text=["x.0"], part=[1, 2])
    emitter.event("params", values={"net": {"b": 2}}, as_text=["net.b"], part=[2, 2])
    run = stored(log, emitter)

    first, second = run.params_history
    assert run.params == {"lr": 0.1, "net": {"a": 1, "b": 2}, "x": [1]}
    assert first["values"] == {"lr": 0.1}
    assert second["values"] == {"net": {"a": 1, "b": 2}, "x": [1]}
    assert second["as_text"] == ["x.0", "net.b"]


def test_status_goes_from_created_to_running_to_the_end(log):
    emitter = Emitter().open()
    assert stored(log, emitter).status == "created"
    assert stored(log, emitter.metrics({"a": 1.0})).status == "running"
    assert stored(log, emitter.end("failed", error="Traceback")).status == "failed"
    assert Run(folder_of(log, emitter)).error == "Traceback"


def test_lowest_rank_of_the_newest_attempt_decides(log):
    zero = Emitter().open().end("failed")
    one = rank(zero, 1).open().end()
    again_one = rank(zero, 1, attempt=1).open().end("failed")
    again_zero = Emitter(zero.uid, rank=0, attempt=1, role="rank").open().end()

    assert stored(log, zero, one, again_one, again_zero).status == "completed"


def test_forked_child_never_decides(log):
    parent = Emitter().open().end()
    child = Emitter(parent.uid, role="child").open().end("failed")

    assert stored(log, child, parent).status == "completed"


def test_death_fails_the_run_and_names_the_signal(log):
    emitter = Emitter().open().metrics({"a": 1.0})
    log.add(emitter).note(emitter, "died", "x", signal=9)
    run = stored(log, emitter)

    assert run.status == "failed"
    assert run.error == "died: SIGKILL"


def test_end_that_was_found_wins_over_a_death_note(log):
    emitter = Emitter().open().end()
    log.add(emitter).note(emitter, "died", "x", reason="gone")

    assert stored(log, emitter).status == "completed"


def test_runs_are_listed_newest_first_and_found_by_id(log):
    old, new = Emitter(name="old"), Emitter(name="new")
    new.info["opened_ns"] += SECOND
    stored(log, old.open(), new.open())
    (log.state.base_dir / "stray").mkdir()

    assert [run.name for run in list_runs(log.state.base_dir)] == ["new", "old"]
    found = find_run(log.state.base_dir, old.uid.hex()[:8])
    assert found is not None
    assert found.name == "old"
    assert find_run(log.state.base_dir, "00000000") is None


def test_last_number_of_a_session_is_told(log):
    emitter = Emitter().open().metrics({"a": 1.0}).gap(4)
    run = stored(log, emitter)

    assert run.last_seq(emitter.session.hex()) == 6
    assert run.last_seq("00" * 16) == 0


def test_folder_without_anything_is_an_empty_run(tmp_path):
    run = Run(tmp_path)

    assert run.metric_names() == []
    assert run.metrics_history() == []
    assert run.status == "created"


def jumped(log, sessions=1):
    """Return a run, part of it compacted, whose clock went back after the third call of each session."""
    emitters = [Emitter(uid=bytes(range(16)), rank=rank) for rank in range(sessions)]
    times = [1000, 2000, 3000, 500, 600, 700]
    for emitter in emitters:
        log.add(emitter.event("params", values={"lr": 1.0}, as_text=[], time_ns=2500))
    for time in times[:4]:
        for emitter in emitters:
            log.add(emitter.metrics({"loss": float(emitter.seq)}, time_ns=time))
    sink = applied(log)
    sink.writers[emitters[0].uid].compact()
    for time in times[4:]:
        for emitter in emitters:
            log.add(emitter.metrics({"loss": float(emitter.seq)}, time_ns=time))
    for emitter in emitters:
        log.add(emitter.event("params", values={"lr": 2.0}, as_text=[], time_ns=800))
        log.add(emitter.event("text", name="n", text="late", time_ns=900))
        log.add(emitter.event("text", name="n", text="later", time_ns=850))
    applied(log, sink, sink.position).close()
    return Run(folder_of(log, emitters[0]))


def test_clock_that_goes_back_changes_no_order_within_a_session(log):
    run = jumped(log)

    assert values(run.metric("loss")) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert run.metric("loss").time_ns.tolist() == [1000, 2000, 3000, 500, 600, 700]
    assert [call["loss"] for call in run.metrics_history()] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert run.metric_stats()["loss"].last.value == 6.0
    assert run.params == {"lr": 2.0}
    assert [text["text"] for text in run.texts()] == ["late", "later"]


def test_clock_that_goes_back_changes_no_order_within_any_of_two_sessions(log):
    run = jumped(log, sessions=2)

    columns = run.metric("loss", ranks="all")
    for session in (0, 1):
        assert values(columns.take(columns.session == session)) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert values(columns)[-1] == 6.0
    assert [call["loss"] for call in run.metrics_history()] == [1, 1, 2, 2, 3, 4, 5, 6, 3, 4, 5, 6]
    assert run.metric_stats()["loss"].last.value == 6.0
    assert run.params == {"lr": 2.0}
