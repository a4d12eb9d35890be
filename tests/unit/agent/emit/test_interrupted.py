"""Threads, signals and finalizers in the middle of a call."""

import itertools
import threading

import pytest

from neural.tracking.agent.emit import emitter as emitter_module
from neural.tracking.agent.emit import stream_writer
from tests.unit.agent.made import account, fill, make_emitter, recover


def test_eight_threads_lose_and_double_nothing(tmp_path):
    emitter = make_emitter(tmp_path)

    def work(thread):
        for i in range(2000):
            emitter.emit_metrics({"thread": float(thread), "i": float(i)} if i % 7 else {f"own_{thread}": i})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found, lost = recover(emitter.outbox.folder)
    account(found, lost, 16_000)
    assert not lost
    per_thread = [[c["i"] for _, _, c in found if c.get("thread") == n] for n in range(8)]
    assert all(order == sorted(order) and len(order) == 1714 for order in per_thread)


def test_threads_that_roll_segments_under_each_other_lose_nothing(tmp_path):
    emitter = make_emitter(tmp_path)

    def work(width):
        fill(emitter, 1500, width=width)

    threads = [threading.Thread(target=work, args=(n,)) for n in (997, 998, 999, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found, lost = recover(emitter.outbox.folder)
    account(found, lost, 6000)
    assert not lost


@pytest.mark.parametrize("at", range(1, 40))
def test_exception_at_any_call_of_the_careful_path_costs_at_most_that_event(tmp_path, at, monkeypatch):
    """The n-th call below ``_write`` raises, to simulate a signal handler that raises."""
    emitter = make_emitter(tmp_path)
    fill(emitter, 5, width=2)
    raised = interrupt_nth_call(monkeypatch, emitter, at)

    accepted = 5
    for i in range(10):
        try:
            accepted += emitter.emit_metrics({f"new_{i}": 1.0})
        except KeyboardInterrupt:
            pass

    found, lost = recover(emitter.outbox.folder)
    assert raised or at > 20
    assert not lost
    assert [seq for seq, _, _ in found] == list(range(1, len(found) + 1))
    assert accepted <= len(found) <= accepted + len(raised)


def interrupt_nth_call(monkeypatch, emitter, at):
    calls, raised = itertools.count(1), []

    def tripwire(function):
        def call(*arguments, **named):
            number = next(calls)
            if number == at:
                raised.append("before")
                raise KeyboardInterrupt
            result = function(*arguments, **named)
            if number == at + 1 and not raised:
                raised.append("after")
                raise KeyboardInterrupt
            return result

        return call

    for name in ("_secure", "_open", "_install", "_store", "_put_metrics"):
        monkeypatch.setattr(emitter, name, tripwire(getattr(emitter, name)))
    monkeypatch.setattr(stream_writer, "Packer", tripwire(stream_writer.Packer))
    return raised


def test_event_emitted_while_another_is_packed_is_written_after_it(tmp_path, monkeypatch):
    emitter = make_emitter(tmp_path)
    emitter.emit_metrics({"outer": 1.0})
    inside = iter([True])

    def interrupted(*arguments):
        if next(inside, False):
            assert emitter.emit_metrics({"inner": 2.0})
            assert emitter.emit("text", {"name": "n", "text": "also"})
        return 0

    class Packing:  # stands in for a signal between two bytecodes of the hot path
        def __call__(self):
            interrupted()
            return 7

    monkeypatch.setattr(emitter_module, "_time_ns", Packing())
    emitter.emit_metrics({"outer": 3.0})

    found, lost = recover(emitter.outbox.folder)
    assert not lost
    assert [next(iter(content)) for _, _, content in found] == ["outer", "outer", "inner", "text"]


def test_event_of_known_names_emitted_while_another_is_packed_is_kept_too(tmp_path, monkeypatch):
    emitter = make_emitter(tmp_path)
    emitter.emit_metrics({"m": 0.0})
    nested = iter([False, True])
    times = itertools.count()

    def time_ns():  # stands in for a signal between two bytecodes of the hot path
        if next(nested, False):
            assert emitter.emit_metrics({"m": 2.0})
        return next(times)

    monkeypatch.setattr(emitter_module, "_time_ns", time_ns)
    emitter.emit_metrics({"m": 1.0})
    emitter.emit_metrics({"m": 1.5})

    found, lost = recover(emitter.outbox.folder)
    assert not lost
    assert [content["m"] for _, _, content in found] == [0.0, 1.0, 1.5, 2.0]


def test_del_that_logs_under_the_lock_does_not_deadlock(tmp_path):
    emitter = make_emitter(tmp_path)

    class LogsAtDeath:
        def __del__(self):
            emitter.emit_metrics({"died": 1.0})

    class Number:
        def __init__(self):
            self.self = self
            self.tail = LogsAtDeath()

        def __float__(self):
            return 1.0

    for _ in range(3000):
        emitter.emit_metrics({"m": Number(), "n": 1.0})
    import gc

    gc.collect()

    found, lost = recover(emitter.outbox.folder)
    account(found, lost, emitter.emitted)
    assert sum("died" in content for _, _, content in found) == 3000
