"""A session in a bad environment: a full disk, a failing sender, forks during imports."""

import errno
import logging
import resource
import subprocess
import sys
import threading
import time

import pytest

from neural.tracking.agent import choose_run, open_session, shutdown
from neural.tracking.agent.emit.outbox import Outbox
from neural.tracking.agent.send import upkeep
from neural.tracking.agent.send.delivery_state import DeliveryState
from neural.tracking.agent.send.protocol import SenderProtocol
from neural.tracking.core import fork_lock
from neural.tracking.core.config import AgentConfig
from neural.tracking.errors import ConfigError
from tests.patience import PATIENCE_S, wait_until
from tests.unit.agent.made import account, flat, recover

OFFLINE = AgentConfig(mode="offline")


@pytest.fixture
def full_disk(monkeypatch):
    """Make outboxes fail with a full disk until ``.clear()``."""
    full = threading.Event()
    full.set()
    real = Outbox.create.__func__

    def create(cls, *arguments):
        if full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(cls, *arguments)

    monkeypatch.setattr(Outbox, "create", classmethod(create))
    monkeypatch.setattr(upkeep, "RETRY_OUTBOX_S", 0.1)
    return full


def test_no_space_at_start_warns_once_counts_and_recovers(tmp_path, full_disk, caplog):
    session = open_session(choose_run("probe", {}), tmp_path, config=OFFLINE)
    for _ in range(10):
        assert not session.emit_metrics({"m": 1.0})
    assert session.emitted == 10

    full_disk.clear()
    wait_until(lambda: session.emit_metrics({"m": 2.0}))
    dropped = session.gaps[0][1]
    session.close(timeout_s=0.1)

    assert caplog.text.count("no outbox for run") == 1
    assert f"{dropped} of {session.emitted} events" in caplog.text
    (folder,) = session.state_folder.outbox.iterdir()
    found, lost = recover(folder)
    account(found, lost, session.emitted)
    assert lost == [(1, dropped, "outbox_full")]
    assert any("open" in content for _, _, content in found)


def test_folder_that_may_not_be_used_raises_at_once_and_leaves_nothing(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Outbox, "create", refuse)

    with pytest.raises(PermissionError):
        open_session(choose_run("probe", {}), tmp_path, config=OFFLINE)


def test_sender_that_fails_warns_once_and_goes_on(tmp_path, monkeypatch, caplog):
    failures = []

    def fail(stream, now):
        failures.append(now)
        raise RuntimeError("not foreseen")

    monkeypatch.setattr("neural.tracking.agent.send.sender.FAILED_S", 0.02)
    with caplog.at_level(logging.WARNING):
        session = open_session(choose_run("probe", {}), tmp_path, config=OFFLINE)
        # Of this sender alone: one that another test has not quite ended would warn, too.
        monkeypatch.setattr(session._sender._upkeep, "run", fail)
        assert session.emit_metrics({"m": 1.0})
        wait_until(lambda: len(failures) > 3)
        session.close(timeout_s=0.1)

    assert caplog.text.count("not foreseen") >= 1
    assert caplog.text.count("sender failed") == 1


def test_unacknowledged_events_can_be_read_at_once(tmp_path):
    session = open_session(choose_run("probe", {}), tmp_path, config=OFFLINE)
    for i in range(1000):
        session.emit_metrics({"m": float(i)})

    read = [event for decoded in session.unacknowledged() for event in flat(decoded)]
    session.close(timeout_s=0.1)

    assert [content["m"] for _, _, content in read if "m" in content] == [float(i) for i in range(1000)]


def test_first_event_tells_of_the_run(tmp_path):
    run = choose_run("probe", {"NTRACK_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4"})
    session = open_session(run, tmp_path, config=OFFLINE, open_event={"tags": ["a"], "notes": None})
    session.close("failed", "because", timeout_s=0.1)

    (folder,) = session.state_folder.outbox.iterdir()
    found, _ = recover(folder)
    opening = found[0][2]["open"]
    assert {key: opening[key] for key in ("name", "rank", "world_size", "attempt", "role", "tags")} == {
        "name": "probe", "rank": 3, "world_size": 4, "attempt": 1, "role": "rank", "tags": ["a"],
    }  # fmt: skip
    assert found[-1][2]["end"] == {"status": "failed", "error": "because"}


def test_close_twice_is_harmless(tmp_path):
    session = open_session(choose_run("probe", {}), tmp_path, config=OFFLINE)

    assert not session.close(timeout_s=0.1)
    assert not session.close(timeout_s=0.1)
    assert session.state == "closed"


def test_fork_waits_for_an_import_of_ours(tmp_path):
    order = []
    inside = threading.Event()

    def importing():
        with fork_lock.held_off:
            inside.set()
            time.sleep(0.2)
            order.append("imported")

    thread = threading.Thread(target=importing)
    thread.start()
    inside.wait()
    fork_lock._before()
    order.append("forked")
    fork_lock._after_in_parent()
    thread.join()

    assert order == ["imported", "forked"]


def test_conversation_is_made_by_the_senders_thread(tmp_path, monkeypatch):
    threads = []
    real = SenderProtocol.__init__

    def spy(self, *arguments):
        threads.append(threading.current_thread().name)
        real(self, *arguments)

    monkeypatch.setattr(SenderProtocol, "__init__", spy)
    session = open_session(choose_run("probe", {}), tmp_path, config=OFFLINE)
    wait_until(lambda: threads)
    session.close(timeout_s=0.1)

    assert threads == ["ntrack-sender"]


class Broken(logging.Handler):
    def emit(self, record):
        raise RuntimeError("the handler of the program failed")


@pytest.fixture
def broken_handler():
    handler = Broken()
    logging.getLogger("neural.tracking").addHandler(handler)
    yield
    logging.getLogger("neural.tracking").removeHandler(handler)


def test_log_handler_that_raises_stops_neither_sender_nor_close(tmp_path, monkeypatch, broken_handler):
    looks = []

    def fail_once(self, stream, now):
        looks.append(now)
        if len(looks) == 1:
            raise RuntimeError("not foreseen")

    monkeypatch.setattr(upkeep.Upkeep, "run", fail_once)
    monkeypatch.setattr("neural.tracking.agent.send.sender.FAILED_S", 0.02)
    session = open_session(choose_run("probe", {}), tmp_path, config=OFFLINE)
    session.emit_metrics({"m": 1.0})

    wait_until(lambda: len(looks) > 2)
    session._delivery.lost.append((1, 1, "log_lost"))  # of which close warns
    session.close(timeout_s=0.1)


def test_end_asked_for_inside_a_log_call_is_the_one_that_comes(tmp_path):
    session = open_session(choose_run("probe", {}), tmp_path, config=OFFLINE)
    session._emitter._busy = True  # as for a signal handler that interrupts a log call
    assert not session.close("failed", "told to stop", timeout_s=0.1)
    session._emitter._busy = False

    session.close("completed", timeout_s=0.1)  # as the exit hook does

    (folder,) = session.state_folder.outbox.iterdir()
    found, _ = recover(folder)
    assert found[-1][2]["end"] == {"status": "failed", "error": "told to stop"}


def test_collector_that_cannot_be_forked_fails_no_close(tmp_path, monkeypatch, caplog):
    def run(command, *, check, **options):
        done = subprocess.CompletedProcess(command, 2)
        if check:
            done.check_returncode()
        return done

    monkeypatch.setattr("subprocess.run", run)
    session = open_session(choose_run("probe", {}), tmp_path)
    session.emit_metrics({"m": 1.0})

    assert not session.close(timeout_s=0.1)

    assert "no collector could be started" in caplog.text


def test_outbox_through_a_symbolic_link_is_refused(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "runs/.ntrack").mkdir(parents=True, mode=0o700)
    (tmp_path / "runs/.ntrack/outbox").symlink_to(elsewhere)

    with pytest.raises(ConfigError, match="symbolic link"):
        open_session(choose_run("probe", {}), tmp_path / "runs", config=OFFLINE)

    assert not list(elsewhere.iterdir())


def test_limit_without_an_end_is_no_limit_to_take():
    with pytest.raises(ConfigError, match="outbox_limit_bytes"):
        AgentConfig(outbox_limit_bytes=float("inf"))


@pytest.mark.parametrize("mode", [0o777, 0o755])
def test_state_folder_that_is_open_to_others_becomes_private(tmp_path, mode):
    state = tmp_path / ".ntrack"
    state.mkdir()
    state.chmod(mode)

    open_session(choose_run("probe", {}), tmp_path, config=OFFLINE).close(timeout_s=0.1)

    assert state.stat().st_mode & 0o777 == 0o700


class Waker:
    hopeless = False

    def __init__(self):
        self.wake = threading.Event()


@pytest.mark.parametrize(("wait_s", "told"), [(5.0, True), (0.2, False)])
def test_only_a_long_wait_at_the_end_is_told_of(wait_s, told, monkeypatch, caplog):
    monkeypatch.setattr(shutdown, "SILENT_S", 0.1)
    monkeypatch.setattr(shutdown, "SHORT_S", 0.2)

    assert not shutdown.deliver(DeliveryState(), Waker(), "probe", 1, time.monotonic() + wait_s)

    assert ("run probe: storing its last events" in caplog.text) == told


def test_end_that_is_stored_soon_says_nothing(caplog):
    delivery, waker = DeliveryState(), Waker()
    delivery.closed.set()
    threading.Timer(0.1, lambda: delivery.requests[1].done.set()).start()

    assert shutdown.deliver(delivery, waker, "probe", 1, time.monotonic() + 60)

    assert "storing its last events" not in caplog.text


MANY_FILES = """
import os, resource, sys, time
from pathlib import Path
from neural.tracking.agent import choose_run, open_session
from neural.tracking.core.config import AgentConfig
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
session = open_session(choose_run("probe", {}), Path(sys.argv[1]), config=AgentConfig(mode="offline"))
while session._sender._protocol is None and session._sender.runs:
    time.sleep(0.01)
print(session._sender.wake.fd >= 1024, session._sender.runs)
session.close(timeout_s=0.1)
"""


def test_sender_lives_where_a_program_has_thousands_of_open_files(tmp_path):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2048:
        pytest.skip("no more than 2048 files can be open here")

    # A process of its own: in this one another thread may close a file, and its number would be reused.
    told = subprocess.check_output([sys.executable, "-c", MANY_FILES, tmp_path], text=True, timeout=PATIENCE_S)

    assert told == "True True\n"
