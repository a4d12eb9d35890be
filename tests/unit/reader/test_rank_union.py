"""Ranks united while they are read, in pieces of any size: the result is as if all were grouped at once."""

import math
from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neural.tracking.formats.events import NO_STEP
from neural.tracking.reader import rank_union as uniting_module
from neural.tracking.reader.rank_union import RankUnionBuilder
from neural.tracking.reader.run import Run
from tests.made_runs import Emitter, applied, folder_of, values

# Integers: their sums are exact in any order, so that results can be compared exactly.
a_value = st.one_of(st.integers(-1000, 1000).map(float), st.sampled_from([math.nan, math.inf]))
a_step = st.one_of(st.integers(0, 30), st.sampled_from([NO_STEP, 2**62]))
pieces = st.lists(
    st.lists(st.tuples(a_step, a_value, st.integers(0, 99)), max_size=40), min_size=1, max_size=12
)


def united(pieces, at_once):
    uniting = RankUnionBuilder()
    with mock.patch.object(uniting_module, "AT_ONCE", at_once):
        for piece in pieces:
            step, value, time_ns = zip(*piece, strict=True) if piece else ((), (), ())
            uniting.add(np.array(step, np.int64), np.array(value, float), np.array(time_ns, np.int64))
        return uniting.united()


@given(pieces.filter(any), st.sampled_from([0, 7, 100_000]))
def test_pieces_in_any_order_come_to_one_point_a_step(pieces, at_once):
    found = united(pieces, at_once)

    points = [point for piece in pieces for point in piece]
    assert found.step.tolist() == sorted({step for step, _, _ in points})
    for place, step in enumerate(found.step.tolist()):
        here = [value for at, value, _ in points if at == step]
        real = [value for value in here if not math.isnan(value)] or [math.nan]
        np.testing.assert_equal(found.mean[place], np.sum(here) / len(here))
        np.testing.assert_equal((found.low[place], found.high[place]), (min(real), max(real)))
        assert found.time_ns[place] == max(time_ns for at, _, time_ns in points if at == step)


def test_pieces_that_were_handed_in_are_left_as_they_were():
    step, value, time_ns = np.arange(5), np.arange(5.0), np.arange(5)
    for array in (step, value, time_ns):
        array.flags.writeable = False
    uniting = RankUnionBuilder()
    for _ in range(3):
        uniting.add(step, value, time_ns)

    assert uniting.united().mean.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_metric_that_one_rank_of_several_logged_comes_as_it_was_logged(log):
    zero = Emitter().metrics({"a": 3.0}, step=9).metrics({"a": 1.0}, step=2).metrics({"a": 2.0}, step=9)
    one = Emitter(zero.uid, rank=1, role="rank").metrics({"b": 5.0}, step=9)
    for emitter in (zero, one):
        log.add(emitter)
    applied(log).close()

    columns = Run(folder_of(log, zero)).metric("a")

    assert (columns.step.tolist(), values(columns)) == ([9, 2, 9], [3.0, 1.0, 2.0])
    assert columns.rank.tolist() == [0, 0, 0]
