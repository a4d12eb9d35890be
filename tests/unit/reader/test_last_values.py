"""The mean over ranks uses one value for each rank and step: the last one that the rank logged there."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural.tracking.figures.ranks import band_of
from neural.tracking.reader.columns import ColumnPiece, one_per_step
from neural.tracking.reader.points import PointFiles
from neural.tracking.reader.rank_union import RankUnion
from neural.tracking.reader.rows import monotonic
from neural.tracking.reader.run import Run
from tests.made_runs import START_NS, Emitter, applied, folder_of, values


def stored(log, *emitters, compacted=False):
    for emitter in emitters:
        log.add(emitter)
    sink = applied(log)
    if compacted:
        for writer in sink.writers.values():
            writer.compact()
        sink.flush()
    sink.close()
    return Run(folder_of(log, emitters[0]))


@pytest.mark.parametrize("compacted", [False, True], ids=["tail", "part"])
def test_rank_that_logs_a_step_nine_times_weighs_as_much_as_one_that_logs_it_once(log, compacted):
    zero = Emitter()
    one = Emitter(zero.uid, rank=1, role="rank")
    for step in range(3):
        for _ in range(9):
            zero.metrics({"loss": 0.0}, step=step)
        one.metrics({"loss": 10.0}, step=step)

    run = stored(log, zero, one, compacted=compacted)

    assert values(run.metric("loss")) == [5.0, 5.0, 5.0]
    assert run.best_metric("loss", "min") == (5.0, 0)
    assert len(run.metric("loss", "all")) == 30


@pytest.mark.parametrize(("ranks", "expected"), [("mean", 15.5), ("min", 1.0), ("max", 30.0)])
def test_of_a_step_that_a_rank_came_back_to_the_last_value_counts(log, ranks, expected):
    zero = Emitter().metrics({"a": 99.0}, step=0).metrics({"a": 7.0}, step=1).metrics({"a": 1.0}, step=0)
    one = Emitter(zero.uid, rank=1, role="rank").metrics({"a": 30.0}, step=0)

    found = stored(log, zero, one).metric("a", ranks)

    assert (found.step.tolist(), values(found)) == ([0, 1], [expected, 7.0])


def test_session_of_a_restarted_rank_replaces_what_the_one_before_it_logged(log):
    zero = Emitter()
    before = Emitter(zero.uid, b"\xff" * 16, rank=1, role="rank")
    after = Emitter(zero.uid, b"\x00" * 16, rank=1, role="rank")  # the first by name, later by time
    for step in range(10):
        zero.metrics({"loss": 0.0}, step=step)
    for step in range(6):
        before.metrics({"loss": 100.0}, step=step)
    for step in range(4, 10):
        after.metrics({"loss": 2.0}, step=step, time_ns=START_NS + (100 + step) * 10**9)

    found = stored(log, zero, before, after).metric("loss")

    assert found.step.tolist() == list(range(10))
    assert values(found) == [50.0] * 4 + [1.0] * 6


def test_nan_that_was_logged_anew_is_no_longer_in_the_mean(log):
    zero = Emitter().metrics({"a": math.nan}, step=0).metrics({"a": 2.0}, step=0)
    one = Emitter(zero.uid, rank=1, role="rank").metrics({"a": 4.0}, step=0)

    assert values(stored(log, zero, one).metric("a")) == [3.0]


def test_picture_of_ranks_draws_the_same_mean_as_is_read(log):
    zero = Emitter()
    one = Emitter(zero.uid, rank=1, role="rank").metrics({"loss": 10.0}, step=5).metrics({"loss": 4.0}, step=6)
    for value in (8.0, 8.0, 0.0):
        zero.metrics({"loss": value}, step=5)
    run = stored(log, zero, one)

    ranks, step, mean, low, high = band_of(run.metric("loss", "all"))

    assert (step.tolist(), mean.tolist()) == ([5, 6], values(run.metric("loss")))
    assert (low.tolist(), high.tolist()) == ([0.0, 4.0], [10.0, 4.0])
    assert ranks.number == 2


class Made(PointFiles):
    """Points without a file, in pieces as from parts and tails."""

    def __init__(self, found):
        self.found = found
        self.ranks = dict(enumerate(sorted({piece.rank for piece in found})))

    def pieces(self, name, pieces_of=None, *, timed=True):
        return iter(self.found)

    def room(self, name):
        return sum(len(piece.seq) for piece in self.found)


# Rank, session, steps; integers as values, whose sums are exact in any order.
a_session = st.tuples(
    st.integers(0, 2),
    st.lists(st.tuples(st.integers(0, 12), st.integers(-99, 99), st.integers(0, 30)), min_size=1, max_size=30),
)


def pieces_of(sessions, cut):
    """Return the sessions' points, cut into pieces that alternate."""
    found = []
    for number, (rank, points) in enumerate(sessions):
        step, value, time_ns = (np.array(column, np.int64) for column in zip(*points, strict=True))
        seq = np.arange(1, len(points) + 1)
        bounds = range(0, len(points), cut)
        found.append(
            [
                ColumnPiece(
                    f"{number:032x}", rank, *(c[at : at + cut] for c in (value * 1.0, step, time_ns, seq))
                )
                for at in bounds
            ]
        )
    return [piece for turn in itertools.zip_longest(*found) for piece in turn if piece is not None]


def last_values(sessions):
    """Return the last value of each rank and step, by (time, session, number); times never decrease."""
    ordered = []
    for number, (rank, points) in enumerate(sessions):
        time_ns = monotonic(np.array([t for *_, t in points]), np.zeros(len(points)))
        ordered += [(int(t), number, seq, rank, *points[seq][:2]) for seq, t in enumerate(time_ns)]
    found = {}
    for *_, rank, step, value in sorted(ordered):
        found.setdefault(rank, {})[step] = float(value)
    return found


@given(st.lists(a_session, min_size=2, max_size=5), st.integers(1, 9))
def test_whatever_the_ranks_log_each_step_is_the_mean_of_their_last_values(sessions, cut):
    files = Made(pieces_of(sessions, cut))
    expected = last_values(sessions)
    if len(expected) == 1:
        return  # in the order of logging

    found = files.united("m")

    assert isinstance(found, RankUnion)
    assert found.step.tolist() == sorted({step for steps in expected.values() for step in steps})
    for how, of in (("mean", np.mean), ("min", min), ("max", max)):
        made = dict(zip(found.step.tolist(), one_per_step("m", found, how).value.tolist(), strict=True))
        for step, value in made.items():
            assert value == of([steps[step] for steps in expected.values() if step in steps])
