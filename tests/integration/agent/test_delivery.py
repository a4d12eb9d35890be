"""Sessions with a real collector: delivered, adopted, started once, and never slowed down."""

import os
import signal
import subprocess
import sys
import time

import pytest

from neural.tracking.agent import choose_run, open_session
from neural.tracking.core.config import AgentConfig
from neural.tracking.state.paths import State
from tests.faults.harness import Collector
from tests.integration.agent.runs import ROOT, run_script
from tests.integration.collector.peer import LogContent
from tests.patience import wait_until

ONLINE = """
import os, sys, time
from neural.tracking.agent import choose_run, open_session
session = open_session(choose_run("probe", {}), sys.argv[1])
"""


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "runs"
    yield folder
    Collector(folder).kill_all()


@pytest.fixture
def session(base):
    opened = open_session(choose_run("probe", {}), base)
    yield opened
    opened.close(timeout_s=120)


def emit(session, count):
    for i in range(count):
        session.emit_metrics({"loss": 1.0 / (i + 1), "acc": 0.5, "lr": 1e-3}, i)


def in_log(base):
    log = State.for_base_dir(base).log
    log.mkdir(parents=True, exist_ok=True)  # the collector may be behind
    return LogContent(log)


def test_first_session_starts_a_collector_and_delivers(session, base):
    emit(session, 20_000)

    assert session.flush(120)
    assert session.acknowledged == session.emitted == 20_001
    assert session.close(timeout_s=120)
    wait_until(lambda: list(State.for_base_dir(base).outbox.iterdir()) == [])  # either of the two removes it
    assert in_log(base).numbers[session.id] == list(range(1, 20_003))


def test_idle_flush_is_quick(session, base):
    emit(session, 10)
    assert session.flush(120)
    times, syncs = [], []
    for number in range(20):
        emit(session, 1)
        started = time.perf_counter()
        assert session.flush(120)
        times.append(time.perf_counter() - started)
        syncs.append(sync_s(base / f"synced-{number}"))

    assert min(times) < 0.25 + 10 * min(syncs)  # other load on the machine only makes it longer


def sync_s(path):
    """Return how many seconds this disk takes to make a new file durable."""
    started = time.perf_counter()
    with path.open("wb") as file:
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - started


def test_flush_that_cannot_be_is_false_within_its_time(base):
    opened = open_session(choose_run("probe", {}), base, config=AgentConfig(mode="offline"))
    emit(opened, 10)

    started = time.monotonic()
    assert not opened.flush(0.2)

    assert time.monotonic() - started < 30
    assert not opened.close(timeout_s=0.2)


def test_collector_killed_again_and_again_loses_and_doubles_nothing(session, base):
    collector = Collector(base)
    sent = 0
    for _ in range(4):
        emit(session, 5000)
        sent += 5000
        before = session.acknowledged
        wait_until(lambda before=before: session.acknowledged > before)
        emit(session, 5000)
        sent += 5000
        collector.kill()
    emit(session, 5000)

    assert session.flush(120)
    assert session.gaps == []
    assert session.close(timeout_s=120)
    assert in_log(base).numbers[session.id] == list(range(1, sent + 5003))


def test_killed_trainers_outbox_is_taken_by_the_collector_that_runs(base):
    script = ONLINE + "session.flush(120)\n"
    script += "for i in range(10**9):\n    session.emit_metrics({'m': float(i)}, i)\n"
    script += "    if i == 100_000: print(session.id.hex(), flush=True)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(base)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    session = bytes.fromhex(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    wait_until(lambda: list(State.for_base_dir(base).outbox.iterdir()) == [])

    content = in_log(base)
    numbers = content.numbers[session]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 100_000
    assert content.notes_of(session, "gap") == []


def test_process_that_ends_while_its_sender_is_slow_to_start_a_collector_leaves_one_behind(base):
    script = """
import threading
from neural.tracking.agent.send import launcher
begun, spawn = threading.Event(), launcher._spawn
def slowly(*arguments):
    begun.set()
    time.sleep(3)  # longer than close() waits for its sender's thread
    spawn(*arguments)
launcher._spawn = slowly
session.emit_metrics({"m": 1.0})
assert begun.wait(60)
print(session.id.hex(), session.close(timeout_s=0.0), flush=True)
"""
    session = bytes.fromhex(run_script(script, base, prologue=ONLINE).stdout.split()[0])

    wait_until(lambda: in_log(base).numbers.get(session, []) == [1, 2, 3])


def test_process_that_ends_while_no_collector_runs_leaves_one_behind_that_delivers(base):
    script = """
for i in range(1000): session.emit_metrics({"m": float(i)})
print(session.id.hex(), session.close(timeout_s=0.0), flush=True)
"""
    done = run_script(script, base, prologue=ONLINE)
    session, stored = done.stdout.split()

    wait_until(lambda: in_log(base).numbers.get(bytes.fromhex(session), []) == list(range(1, 1003)))
    assert stored == "False"


def test_eight_processes_that_find_no_collector_start_one(base):
    script = ONLINE + "session.emit_metrics({'m': 1.0})\nassert session.close(timeout_s=120)\n"
    command = [sys.executable, "-c", script, str(base)]
    processes = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(8)]
    errors = [process.communicate(timeout=120)[1] for process in processes]

    assert [process.returncode for process in processes] == [0] * 8, errors
    content = in_log(base)
    assert sorted(map(len, content.numbers.values())) == [3] * 8
    assert State.for_base_dir(base).daemon_log.read_text().count("already") == 0


def test_suspended_collector_is_not_doubled_and_calls_stay_quick(session, base):
    emit(session, 10)
    assert session.flush(120)
    collector = Collector(base)
    collector.suspend()
    try:
        times = []
        until = time.monotonic() + 3
        while time.monotonic() < until:
            started = time.perf_counter_ns()
            session.emit_metrics({"loss": 1.0, "acc": 0.5, "lr": 1e-3})
            times.append(time.perf_counter_ns() - started)
            time.sleep(0.0005)
        assert State.for_base_dir(base).collector_runs()
    finally:
        collector.resume()

    assert sorted(times)[len(times) // 2] < 200_000
    assert session.flush(120)
    assert session.gaps == []


def test_offline_session_starts_no_collector_and_a_later_one_takes_its_outbox(base):
    config = AgentConfig(mode="offline")
    offline = open_session(choose_run("probe", {}), base, config=config)
    emit(offline, 100)
    assert not offline.close(timeout_s=5)
    assert not State.for_base_dir(base).collector_runs()

    run_script(ONLINE + "assert session.close(timeout_s=120)", base, prologue="")

    wait_until(lambda: in_log(base).numbers.get(offline.id, []) == list(range(1, 103)))


def test_disabled_session_makes_no_file(base):
    disabled = open_session(choose_run("probe", {}), base, config=AgentConfig(mode="disabled"))

    assert not disabled.emit_metrics({"m": 1.0})
    assert disabled.close()

    assert not base.exists()


def test_base_dir_that_cannot_be_used_is_told_at_once(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(OSError, match="file"):
        open_session(choose_run("probe", {}), tmp_path / "file" / "runs")
