"""``ntrack verify`` when pending data in log and outboxes is damaged: reported, without a traceback."""

import shutil

import pytest

from neural.tracking.formats import segment
from tests.faults.harness import flip_bit
from tests.integration.verify.conftest import only, run_folder, verify

CURSOR, LOG, OUTBOX = ".ntrack/cursors/store.json", ".ntrack/log/*.seg", ".ntrack/outbox/*"


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '{"position": 5}', '{"position": [1, "x"]}'])
def test_cursor_that_says_nothing_means_the_beginning_of_the_log(runs, content):
    (runs / CURSOR).write_text(content)

    code, said = verify(runs)

    assert code == 0, said  # all events of the log are stored


def test_state_that_is_gone_leaves_the_runs_as_they_are(runs):
    shutil.rmtree(runs / ".ntrack")
    (runs / ".ntrack").write_text("")

    code, said = verify(runs)

    assert code == 0, said


@pytest.mark.parametrize("at", [20, segment.HEADER_BYTES + 20], ids=["header", "record"])
def test_damage_in_the_log_that_the_store_has_not_passed_is_told(runs, at):
    (runs / CURSOR).unlink()
    log = only(runs, LOG)
    flip_bit(log, 8 * at)

    code, said = verify(runs)

    assert code == 6, said
    assert f"log {log.name}: bytes" in said


def test_damage_in_the_log_that_the_store_has_passed_is_past(runs):
    flip_bit(only(runs, LOG), 8 * 200)

    assert verify(runs)[0] == 0


def test_record_that_a_crash_cut_off_at_the_end_of_the_log_is_no_damage(runs):
    (runs / CURSOR).unlink()
    log = only(runs, LOG)
    log.write_bytes(log.read_bytes()[:-24])

    assert verify(runs)[0] == 0


@pytest.mark.parametrize("content", [None, b"", b"{}"], ids=["gone", "empty", "another"])
def test_outbox_of_which_nobody_can_tell_whose_it_is_is_told(runs, content):
    info = only(runs, f"{OUTBOX}/session.json")
    info.unlink() if content is None else info.write_bytes(content)

    code, said = verify(runs)

    assert code == 6, said
    assert f"outbox {info.parent.name}: " in said and "session.json" in said


def test_events_in_an_outbox_are_on_their_way(runs):
    shutil.rmtree(run_folder(runs, "live"))
    shutil.rmtree(runs / ".ntrack/log")

    code, said = verify(runs)

    assert code == 3, said
    assert f"{run_folder_name(runs)} pending events 1–" in said


def run_folder_name(runs):
    """Return the name of the live run's folder, from its outbox."""
    return only(runs, f"{OUTBOX}/session.json").read_text().split('"dir": "')[1].split('"')[0]


def test_acknowledged_events_that_still_lie_in_an_outbox_are_not_on_their_way(runs):
    only(run_folder(runs, "live"), "metrics/tail-*.seg").unlink()

    code, said = verify(runs)

    assert code == 6, said
    assert "missing events" in said and "pending events" not in said
