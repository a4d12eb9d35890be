"""When the views of a run are written: at its end, before barriers; not without a change."""

import json

from tests.made_runs import Emitter, applied, folder_of


def shown(log, emitter, view):
    """Return the content of a view; None if it is not written yet."""
    path = folder_of(log, emitter) / f"{view}.json"
    return json.loads(path.read_text()) if path.exists() else None


def two_ranks():
    opener = Emitter().open().metrics({"loss": 1.0})
    return opener, Emitter(uid=opener.uid, rank=1, role="rank").open().metrics({"loss": 2.0})


def test_end_is_shown_before_it_counts_as_applied(log):
    emitter = Emitter().open().metrics({"loss": 1.0}).end()

    applied(log.add(emitter), flush=False)

    assert shown(log, emitter, "metadata")["status"] == "completed"
    assert [entry["loss"] for entry in shown(log, emitter, "metrics")] == [1.0]


def test_end_of_one_rank_does_not_wait_for_the_history_of_all(log):
    first, second = two_ranks()
    sink = applied(log.add(first).add(second))

    applied(log.add(first.end()), sink, flush=False)
    status, early = shown(log, first, "metadata")["status"], shown(log, first, "metrics")
    applied(log.add(second.end()), sink, flush=False)

    assert (status, early) == ("completed", None)
    assert sorted(entry["loss"] for entry in shown(log, first, "metrics")) == [1.0, 2.0]


def test_history_of_a_run_whose_other_rank_never_ends_is_shown_soon(log):
    first, second = two_ranks()

    applied(log.add(first.end()).add(second))

    assert sorted(entry["loss"] for entry in shown(log, first, "metrics")) == [1.0, 2.0]


def test_contact_lost_and_found_makes_no_views_anew(log):
    emitter = Emitter().open().metrics({"loss": 1.0})
    sink = applied(log.add(emitter), flush=False)

    log.note(emitter, "lost_contact", "1")
    log.note(emitter, "contact", "2")
    applied(log, sink, flush=False)

    assert shown(log, emitter, "summary") is None
    log.note(emitter, "died", "died", reason="signal 9")
    applied(log, sink, flush=False)
    assert shown(log, emitter, "metadata")["status"] == "failed"
    assert shown(log, emitter, "metrics") is not None
