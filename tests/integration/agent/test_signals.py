"""Signals during log calls: handlers that log, and handlers that raise."""

from tests.faults.harness import rounds
from tests.integration.agent.runs import outboxes, run_script, values
from tests.unit.agent.made import account


def test_handler_that_logs_never_deadlocks_and_loses_nothing(tmp_path):
    signals = rounds(8_000, 100_000)
    done = run_script(
        f"""
import itertools, signal
handled, outer = itertools.count(), 0
kept = []  # appends are atomic: handlers are interrupted by handlers too
def handler(*_):
    if session.emit_metrics({{"handler": float(next(handled))}}): kept.append(1)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
while len(kept) < {signals}:
    outer += session.emit_metrics({{"outer": float(outer), "n": 1.0}})
signal.setitimer(signal.ITIMER_REAL, 0)
session.close(timeout_s=0.1)
print(len(kept), outer)
""",
        tmp_path,
    )

    handled, outer = map(int, done.stdout.split())
    events, lost = outboxes(tmp_path)["opener"]
    assert sorted(values(events, "handler")) == [float(i) for i in range(handled)]
    assert values(events, "outer") == [float(i) for i in range(outer)]
    account(events, lost, handled + outer + 2)


def test_interrupts_inside_the_call_lose_nothing_that_was_accepted(tmp_path):
    interrupts = rounds(2_000, 10_000)
    done = run_script(
        f"""
import random, signal
inside = False
interrupted = accepted = 0
def handler(*_):
    if inside: raise KeyboardInterrupt
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 5e-5, 5e-5)
kept = []
i = 0
while interrupted < {interrupts}:
    i += 1
    try:
        inside = True
        session.emit_metrics({{"m": float(i)}} if i % 50 else {{f"new_{{i}}": 1.0, "m": float(i)}}, i)
        kept.append(i)
        inside = False
    except KeyboardInterrupt:
        inside = False
        interrupted += 1
signal.setitimer(signal.ITIMER_REAL, 0)
session.close(timeout_s=0.1)
with open(sys.argv[2], "w") as file: file.write(" ".join(map(str, kept)))
""",
        tmp_path,
        tmp_path / "kept",
    )

    assert done.stderr == ""
    kept = [int(text) for text in (tmp_path / "kept").read_text().split()]
    events, lost = outboxes(tmp_path)["opener"]
    stored = values(events, "m")
    assert lost == []
    assert stored == sorted(set(stored))
    assert set(map(float, kept)) <= set(stored)
    account(events, lost, len(events))


def test_closing_in_a_handler_does_not_hang_the_call_it_interrupted(tmp_path):
    run_script(
        """
import signal
def handler(*_):
    session.close("failed", timeout_s=0.1)
    raise SystemExit(0)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.05)
while True: session.emit_metrics({"m": 1.0})
""",
        tmp_path,
    )

    events, lost = outboxes(tmp_path)["opener"]
    account(events, lost, len(events))
    assert "end" in events[-1][2]
