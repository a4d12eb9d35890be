"""The tests that every sink must pass, for third-party sinks, too.

    from neural.tracking.sinks.contract import SinkContract

    class TestMySink(SinkContract):
        def make_sink(self, place):
            return MySink(place, address="…")

The tests need pytest, and a sink with a method ``points`` that reads its backend; if reading needs something
else, override :meth:`SinkContract.points`. To simulate a crash, a test does not close the sink, and gives the
next one the run's memory as it was saved after the last flush.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from neural.tracking.sinks.base import Readable, RunEvent, RunInfo, Sink, SinkPlace
from neural.tracking.sinks.mapping import rank_prefix

START_NS = 1_700_000_000_000_000_000
HOSTILE_NAMES = (
    "loss", "train/loss", "a b", "α–β", "x%y", "x?y", "x#y", "a//b", "../up", "./here", "/root", ".", "..",
    "{braces}", "comma,", 'quote"', "emoji\U0001f600", "n" * 256, "n" * 255 + "m", "_private", "step", "a/../b",
)  # fmt: skip

_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)

Point = tuple[str, int, float]


class SinkContract:
    """The tests. Subclass it under a name that pytest collects, and implement ``make_sink``."""

    hostile_names: tuple[str, ...] = HOSTILE_NAMES

    def make_sink(self, place: SinkPlace) -> Sink:
        """Return a new sink; within one test all of them deliver to the same backend."""
        raise NotImplementedError

    def points(self, sink: Sink, run: RunInfo) -> Iterable[Point]:
        """Return (metric, step, value) of all points of a run in the backend."""
        assert isinstance(sink, Readable), "give the sink a method points(run), or override this one"
        return sink.points(run) or ()

    def kept_value(self, value: float) -> float:
        """Return the value that the backend stores for a value, as it documents."""
        return value

    def died(self) -> None:
        """Release what would have ended with the process of the sink that crashed."""

    def test_points_come_back_as_they_were_logged(self, tmp_path: Path) -> None:
        worker = _ContractWorker(self, tmp_path)
        values = [0.5, -1e-30, 1e30, 3.0, math.nan, math.inf, -math.inf, 0.1]

        worker.deliver(*(metrics(i + 1, step=i, loss=v) for i, v in enumerate(values)))

        worker.holds([("loss", i, v) for i, v in enumerate(values)])

    def test_steps_may_repeat_and_go_back(self, tmp_path: Path) -> None:
        worker = _ContractWorker(self, tmp_path)
        steps = [5, 5, 2, 9, 0, 2**40]

        worker.deliver(*(metrics(i + 1, step=step, loss=i + 0.5) for i, step in enumerate(steps)))

        worker.holds([("loss", step, i + 0.5) for i, step in enumerate(steps)])

    def test_thousand_metrics_in_one_call(self, tmp_path: Path) -> None:
        worker = _ContractWorker(self, tmp_path)
        values = {f"layer_{i}/norm": float(i) for i in range(1000)}

        worker.deliver(event(1, "metrics", values, step=3))

        worker.holds([(name, 3, value) for name, value in values.items()])

    def test_every_name_arrives_and_none_meets_another(self, tmp_path: Path) -> None:
        worker = _ContractWorker(self, tmp_path)

        worker.deliver(
            *(event(i + 1, "metrics", {n: i + 0.5}, step=i) for i, n in enumerate(self.hostile_names))
        )

        found = worker.found()
        assert sorted(value for _, _, value in found) == [i + 0.5 for i in range(len(self.hostile_names))]
        assert len({name for name, _, _ in found}) == len(self.hostile_names)

    def test_events_of_every_kind_are_taken(self, tmp_path: Path) -> None:
        worker = _ContractWorker(self, tmp_path)

        worker.deliver(*every_kind(), metrics(20, step=1, loss=0.5))
        worker.deliver(status("completed"))

        worker.holds([("loss", 1, 0.5)])

    def test_artifacts_and_figures_are_taken(self, tmp_path: Path) -> None:
        worker = _ContractWorker(self, tmp_path)
        (tmp_path / "v3_model.pt").write_bytes(b"weights")
        (tmp_path / "curve.png").write_bytes(_PNG)
        common = {
            "version": 3,
            "checksum": "0" * 64,
            "size": 7,
            "aliases": ["best"],
            "metadata": {"a": 1},
            "uri": None,
        }

        for name, kind, file in (("model.pt", "model", "v3_model.pt"), ("curve", "figure", "curve.png")):
            data = {**common, "name": name, "type": kind, "path": str(tmp_path / file)}
            worker.deliver(event(2, "artifact", data, step=1))
        worker.deliver(metrics(3, step=1, loss=0.5))

        worker.holds([("loss", 1, 0.5)])

    def test_ranks_with_the_same_numbers_are_all_kept(self, tmp_path: Path) -> None:
        worker = _ContractWorker(self, tmp_path)

        worker.deliver(
            *(metrics(1, step=1, session=f"{rank:032x}", rank=rank, loss=rank + 0.5) for rank in range(3))
        )

        worker.holds([(rank_prefix(rank) + "loss", 1, rank + 0.5) for rank in range(3)])

    def test_runs_do_not_mix(self, tmp_path: Path) -> None:
        worker = _ContractWorker(self, tmp_path)
        other = _run(tmp_path, "cd" * 16)

        worker.deliver(metrics(1, step=1, loss=0.5), metrics(1, step=1, loss=7.5)._replace(run=other))

        worker.holds([("loss", 1, 0.5)])
        worker.holds([("loss", 1, 7.5)], other)

    def test_batch_that_comes_again_after_a_crash_counts_once(self, tmp_path: Path) -> None:
        worker = _ContractWorker(self, tmp_path)
        worker.deliver(metrics(1, step=1, loss=0.5))
        worker.write(metrics(2, step=2, loss=1.5), metrics(3, step=3, loss=2.5))  # not flushed

        worker.crash()
        worker.deliver(*(metrics(n, step=n, loss=n - 0.5) for n in (2, 3, 4)))

        worker.holds([("loss", n, n - 0.5) for n in (1, 2, 3, 4)])

    def test_batch_flushed_but_not_noted_before_a_crash_counts_once(self, tmp_path: Path) -> None:
        worker = _ContractWorker(self, tmp_path)
        worker.deliver(metrics(1, step=1, loss=0.5))
        worker.write(metrics(2, step=2, loss=1.5))
        worker.sink.flush()  # the worker crashes before it saves the run's memory

        worker.crash()
        worker.deliver(metrics(2, step=2, loss=1.5), metrics(3, step=3, loss=2.5))

        worker.holds([("loss", n, n - 0.5) for n in (1, 2, 3)])

    def test_everything_again_with_nothing_remembered_counts_once(self, tmp_path: Path) -> None:
        worker = _ContractWorker(self, tmp_path)
        worker.deliver(*(metrics(n, step=n, loss=n - 0.5) for n in (1, 2, 3)))

        worker.forget()
        worker.deliver(*(metrics(n, step=n, loss=n - 0.5) for n in (1, 2, 3)))

        worker.holds([("loss", n, n - 0.5) for n in (1, 2, 3)])

    def test_run_that_ended_may_go_on(self, tmp_path: Path) -> None:
        worker = _ContractWorker(self, tmp_path)
        worker.deliver(metrics(1, step=1, loss=0.5), status("completed"))
        worker.restart()

        worker.deliver(status("running", ended=False), metrics(2, step=2, loss=1.5))
        worker.deliver(status("failed", error="Traceback\nValueError: nan"))

        worker.holds([("loss", 1, 0.5), ("loss", 2, 1.5)])

    def test_opened_twice_and_closed_unopened_is_no_harm(self, tmp_path: Path) -> None:
        self.make_sink(_place(tmp_path)).close()
        worker = _ContractWorker(self, tmp_path)

        worker.sink.open()
        worker.sink.flush()
        worker.deliver(metrics(1, step=1, loss=0.5))

        worker.holds([("loss", 1, 0.5)])

    def test_run_has_a_place_that_people_find(self, tmp_path: Path) -> None:
        worker = _ContractWorker(self, tmp_path)

        worker.deliver(metrics(1, step=1, loss=0.5))

        assert worker.run.link


def event(
    seq: int,
    kind: str,
    data: Mapping[str, Any],
    *,
    step: int | None = None,
    session: str = "0" * 32,
    rank: int = 0,
) -> RunEvent:
    """Return an event. Its run is a placeholder that the worker of the tests replaces."""
    time_ns = START_NS + seq * 10**7
    return RunEvent(_NO_RUN, session, rank, seq, time_ns, step, kind, data)


def metrics(seq: int, *, step: int, session: str = "0" * 32, rank: int = 0, **values: float) -> RunEvent:
    """Return a metrics event, ``values`` by the metrics' names."""
    return event(seq, "metrics", values, step=step, session=session, rank=rank)


def status(word: str, *, error: str | None = None, ended: bool = True) -> RunEvent:
    """Return the status event of a run; ``word`` is the status, ``ended`` whether all processes have ended."""
    made = event(0, "status", {"status": word, "error": error, "ended": ended}, session="")
    return made._replace(time_ns=START_NS + 10**10)


def every_kind() -> list[RunEvent]:
    """Return one event of each kind except metrics, artifact and status, and one of an unknown kind."""
    values = {
        "lr": 0.1,
        "opt": {"name": "sgd", "nesterov": True},
        "dims": [1, 2],
        "none": None,
        "long": "x" * 9000,
    }
    return [
        event(1, "open", {"tags": ["a", "b c"], "notes": "first", "group": "g", "settings": {}}),
        event(2, "params", {"values": values, "as_text": []}),
        event(3, "text", {"name": "sample/one", "text": "hello\nworld"}, step=4),
        event(4, "tags", {"add": ["later"]}),
        event(5, "notes", {"notes": "second"}),
        event(6, "metadata", {"values": {"command": "train.py", "git": {"commit": "ab" * 20}, "host": "h"}}),
        event(7, "of_the_future", {"anything": 1}),
        event(8, "end", {"status": "completed", "error": None}),
    ]


def _run(folder: Path, uid: str = "ab" * 16) -> RunInfo:
    return RunInfo(uid, "contract", folder / f"contract_{uid[:8]}", START_NS)


def _place(folder: Path) -> SinkPlace:
    return SinkPlace("contract", folder, "0123abcd")


_NO_RUN = RunInfo("", "", Path())


class _ContractWorker:
    """Calls the sink as a worker does, and saves the run's memory."""

    def __init__(self, contract: SinkContract, folder: Path) -> None:
        self._contract = contract
        self._folder = folder
        self.run = _run(folder)
        self._saved: dict[str, Any] = {}
        self.sink = contract.make_sink(_place(folder))
        self.sink.open()

    def write(self, *events: RunEvent) -> None:
        self.sink.write([e._replace(run=self.run) if e.run is _NO_RUN else e for e in events])

    def deliver(self, *events: RunEvent) -> None:
        """Write, flush, and save the run's memory."""
        self.write(*events)
        self.sink.flush()
        self._saved = copy.deepcopy(self.run.memory)

    def crash(self) -> None:
        """Open a new sink with the saved memory, without closing the old one."""
        self._contract.died()
        self.run = _run(self._folder)
        self.run.memory = copy.deepcopy(self._saved)
        self.sink = self._contract.make_sink(_place(self._folder))
        self.sink.open()

    def forget(self) -> None:
        """Close the sink and open a new one with an empty memory."""
        self.restart()
        self.run.memory.clear()

    def restart(self) -> None:
        """Close the sink and open a new one with the saved memory."""
        self.sink.close()
        self.crash()

    def found(self, run: RunInfo | None = None) -> list[Point]:
        """Return the backend's points; each once if the sink only promises "at least once"."""
        found = [(name, step, value) for name, step, value in self._contract.points(self.sink, run or self.run)]
        return found if self.sink.delivery == "exactly once" else list({_key(p): p for p in found}.values())

    def holds(self, expected: list[Point], run: RunInfo | None = None) -> None:
        """Assert that the backend has exactly these points."""
        kept = [(name, step, self._contract.kept_value(value)) for name, step, value in expected]
        found, wanted = Counter(map(_key, self.found(run))), Counter(map(_key, kept))
        missing, surplus = list((wanted - found).elements())[:20], list((found - wanted).elements())[:20]
        assert found == wanted, f"missing of {len(kept)} points: {missing}; too many: {surplus}"


def _key(point: Point) -> tuple[str, int, str]:
    return point[0], point[1], repr(float(point[2]))
