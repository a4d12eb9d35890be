"""Start, second start, stop and idle exit of a collector."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from neural.tracking.collector import commands
from neural.tracking.collector.lock import acquire, holder
from neural.tracking.core.exit_status import EXIT_UNREACHABLE
from neural.tracking.formats.ledgers import Ledger, SessionEntry
from neural.tracking.state.paths import State
from tests.integration.collector.peer import CollectorProcess, LogContent
from tests.patience import PATIENCE_S, wait_until

WATCHED_S = 3.0


def test_of_twenty_started_at_once_one_runs_and_the_rest_leave_with_0(tmp_path):
    many = [CollectorProcess(tmp_path / "runs") for _ in range(20)]
    try:
        wait_until(lambda: sum(c.process.poll() is None for c in many) == 1)

        left = [c for c in many if c.process.poll() is None]
        left[0].wait_ready()
        assert [c.process.returncode for c in many if c is not left[0]] == [0] * 19
        assert holder(left[0].state.lock)["pid"] == left[0].pid
    finally:
        for one in many:
            one.end()


def test_suspended_collector_is_never_doubled(start_collector):
    first = start_collector()
    os.kill(first.pid, signal.SIGSTOP)

    second = start_collector(ready=False)

    assert second.process.wait(120) == 0
    assert commands.start(first.base_dir, timeout_s=0.5) == EXIT_UNREACHABLE
    told = commands.status(first.base_dir, timeout_s=0.3)
    assert (told["running"], told["reachable"], told["holder"]["pid"]) == (True, False, first.pid)
    os.kill(first.pid, signal.SIGCONT)
    wait_until(first.answers)


def test_endpoint_tells_where_and_goes_with_the_collector(start_collector):
    collector = start_collector()
    endpoint = collector.state.endpoint_file
    told = json.loads(wait_until(lambda: endpoint.exists() and endpoint.read_text()))
    assert told["data"] == f"ipc://{collector.state.data_socket}"
    assert (told["pid"], told["protocol"]) == (collector.pid, 1)

    assert collector.stop() in (0, 3)

    left = {path.name for path in collector.state.root.iterdir()}
    assert not left & {"endpoint.json", "collector.sock", "control.sock"}


def test_start_status_stop(tmp_path):
    base_dir = tmp_path / "runs"

    assert commands.status(base_dir) == {"running": False}
    assert commands.start(base_dir, timeout_s=PATIENCE_S) == 0
    told = commands.status(base_dir, timeout_s=PATIENCE_S)
    assert told["reachable"] and told["disk"]["state"] == "ok"
    assert commands.start(base_dir, timeout_s=PATIENCE_S) == 0
    assert commands.status(base_dir, timeout_s=PATIENCE_S)["pid"] == told["pid"]
    assert commands.stop(base_dir, timeout_s=PATIENCE_S) == 0
    assert commands.stop(base_dir, timeout_s=PATIENCE_S) == 0
    assert commands.status(base_dir) == {"running": False}


def test_log_is_sealed_on_stop_and_goes_on_after(start_collector, make_peer):
    collector = start_collector()
    peer = make_peer()
    peer.hello()
    peer.ask(peer.batch(5))
    collector.stop()
    assert LogContent(collector.state.log).notes_of(bytes(16), "sealed")

    start_collector()
    peer.connect()

    assert peer.hello().last == 5
    assert peer.ask(peer.batch(5)).last == 10
    assert LogContent(collector.state.log).numbers[peer.session] == list(range(1, 11))


def test_automatic_one_leaves_when_idle_and_an_asked_for_one_stays(start_collector, tmp_path):
    asked_for = start_collector("--idle-exit-s", "0.5", base_dir=tmp_path / "a")
    automatic = start_collector("--auto", "--idle-exit-s", "0.5", base_dir=tmp_path / "b", ready=False)

    assert automatic.process.wait(120) == 0
    assert asked_for.answers()
    assert not automatic.state.collector_runs()


def test_automatic_one_stays_while_an_outbox_is_live(start_collector, tmp_path):
    base_dir = tmp_path / "runs"
    folder = State.for_base_dir(base_dir).outbox / ("ab" * 16)
    folder.mkdir(parents=True)
    holding = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX);"
        "print(flush=True); input()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", holding, str(folder / "owner.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        owner.stdout.readline()
        State.for_base_dir(base_dir).root.chmod(0o700)
        collector = start_collector("--auto", "--idle-exit-s", "0.5")

        with pytest.raises(subprocess.TimeoutExpired):
            collector.process.wait(4)
    finally:
        owner.communicate(b"\n")


@pytest.mark.parametrize("what", ["log", "lock", "endpoint_file", "data_socket", "control_socket"])
def test_what_nobody_can_find_any_more_ends_it_loudly(start_collector, make_peer, what):
    collector = start_collector()
    peer = make_peer()
    peer.hello()
    peer.ask(peer.batch(5))

    if what == "log":
        shutil.rmtree(collector.state.log)
        peer.send(peer.batch(5))
        assert peer.hear(2.0) is None, "acknowledged what is in no log"
    else:
        getattr(collector.state, what).unlink()

    assert collector.process.wait(120) == 1
    daemon_log = collector.daemon_log()
    assert "gone" in daemon_log or (
        what == "log" and "log write failed" in daemon_log
    )  # either part may notice it first


def test_after_the_log_vanished_the_next_one_is_a_new_log(start_collector, make_peer):
    collector = start_collector()
    peer = make_peer()
    before = peer.hello()
    peer.ask(peer.batch(5))
    shutil.rmtree(collector.state.log)
    assert collector.process.wait(120) == 1

    start_collector()
    peer.connect()
    after = peer.hello()

    assert after.log_id != before.log_id


def test_ledger_answers_for_a_session_the_log_does_not_know(start_collector, make_peer, tmp_path):
    start_collector()
    peer = make_peer()
    folder = tmp_path / "runs" / peer.info()["dir"]
    folder.mkdir()
    ledger = Ledger(sessions={peer.session.hex(): SessionEntry(last=40)})
    (folder / "ledger-0badcafe.json").write_bytes(ledger.encode())
    (folder / "ledger-00000000.json").write_text("{")

    assert peer.hello().last == 40
    peer.seq = 40
    assert peer.ask(peer.batch(2)).last == 42


def test_second_lock_is_refused_until_the_first_lets_go(tmp_path):
    first = acquire(tmp_path / "lock")

    assert acquire(tmp_path / "lock") is None
    first.release()
    assert acquire(tmp_path / "lock") is not None


def test_lock_whose_file_is_gone_says_so(tmp_path):
    held = acquire(tmp_path / "lock")
    assert held.in_place()

    (tmp_path / "lock").unlink()

    assert not held.in_place()


def test_import_of_the_command_is_light():
    probe = (
        "import sys, neural.tracking.collector.commands;"
        "print([m for m in ('zmq', 'numpy', 'asyncio', 'pyarrow') if m in sys.modules])"
    )

    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "[]"


def test_idle_collector_is_small_and_quiet(start_collector, make_peer):
    collector = start_collector()
    peer = make_peer()
    peer.hello()
    peer.ask(peer.batch(5))
    peer.bye()
    process = psutil.Process(collector.pid)

    def used_s():
        """Return the CPU seconds that it uses in the next seconds."""
        before = process.cpu_times()
        time.sleep(WATCHED_S)
        after = process.cpu_times()
        return after.user + after.system - before.user - before.system

    # The time until it is idle, and the cost of cold caches, depend on the machine.
    wait_until(lambda: used_s() / WATCHED_S < 0.02)  # the short form; benchmarks hold it to 0.5 %
    assert process.memory_info().rss < 100 << 20
