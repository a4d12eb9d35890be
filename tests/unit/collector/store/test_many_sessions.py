"""A run with very many sessions: ended ones are not written every second, and not forgotten."""

import json

import pytest

from neural.tracking.collector.ingest.stored_runs import StoredSession, stored_session
from neural.tracking.collector.store import run_writer
from neural.tracking.formats import ledgers
from neural.tracking.verify.verify import verify_run
from tests.made_runs import Emitter, applied, folder_of


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
    monkeypatch.setattr(run_writer, "SETTLE_COUNT", 3)


def emitters(log, count):
    """Let that many sessions of one run log and end; return them."""
    made = [Emitter(uid=b"u" * 16, rank=n, role="opener" if n == 0 else "child") for n in range(count)]
    for emitter in made:
        log.add(emitter.open().metrics({"loss": 1.0}).end()).bye(emitter)
    return made


def ledger_files(folder):
    (path,) = folder.glob("ledger-*.json")
    return path, ledgers.ended_file(path)


def test_ended_sessions_leave_the_ledger_and_are_read_with_it(log):
    ended = emitters(log, 5)
    live = Emitter(uid=b"u" * 16).open()
    applied(log.add(live)).close()
    path, ended_file = ledger_files(folder_of(log, live))

    assert list(json.loads(path.read_bytes())["sessions"]) == [live.session.hex()]
    assert len(ended_file.read_bytes().splitlines()) == 5
    assert {entry.last for entry in ledgers.read(path).sessions.values()} == {3, 1}
    assert len(ledgers.read(path).sessions) == 6
    assert verify_run(path.parent).exit_code == 0
    assert stored_session(log.state.base_dir, live.info["dir"], ended[0].session) == StoredSession(3, 3)
    assert stored_session(log.state.base_dir, live.info["dir"], b"x" * 16) == StoredSession()


def test_what_comes_again_of_an_ended_session_counts_once(log):
    ended = emitters(log, 5)
    applied(log).close()

    applied(log).close()

    report = verify_run(folder_of(log, ended[0]))
    assert report.exit_code == 0
    assert [(s.stored, s.doubled) for s in report.sessions] == [(3, [])] * 5


def test_a_crash_before_the_ledger_was_written_is_made_good(log):
    ended = emitters(log, 5)
    sink = applied(log)
    path, ended_file = ledger_files(folder_of(log, ended[0]))
    whole = ended_file.read_bytes()
    ended_file.write_bytes(whole + whole[:77])  # the beginning of a line that the ledger does not list
    before = ledgers.read(path)

    more = emitters(log, 4)
    applied(log, start=sink.position).close()

    assert len(before.sessions) == 5
    assert len(ledgers.read(path).sessions) == 9
    assert verify_run(folder_of(log, more[0])).exit_code == 0


@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_damage_to_them_is_told_and_the_next_writer_makes_them_anew(log, harm):
    ended = emitters(log, 5)
    applied(log).close()
    path, ended_file = ledger_files(folder_of(log, ended[0]))
    data = bytearray(ended_file.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
        ended_file.write_bytes(data)
    elif harm == "cut":
        ended_file.write_bytes(data[:-5])
    else:
        ended_file.unlink()

    assert verify_run(path.parent).exit_code == 6
    live = Emitter(uid=b"u" * 16).open()
    applied(log.add(live)).close()

    report = verify_run(path.parent)
    assert report.exit_code == 0, report
    assert {s.stored for s in report.sessions} == {3, 1}
