"""Sets of event numbers: as sets are, and of any size."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neural.tracking.formats.event_checks import MAX_NUMBER
from neural.tracking.verify.counts import Count, NumberSet

SPANS = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 12)).map(lambda s: (s[0], sum(s))), max_size=8)
NUMBERS = st.lists(st.integers(1, 70), max_size=30)


def members(numbers):
    return {number for first, last in numbers.spans() for number in range(first, last + 1)}


def united(spans):
    return {number for first, last in spans for number in range(first, last + 1)}


@given(SPANS, SPANS, SPANS)
def test_what_is_in_none_of_the_others(own, other, third):
    left = NumberSet(own).without(NumberSet(other), NumberSet(third))

    assert members(left) == united(own) - united(other) - united(third)


@given(SPANS, NUMBERS)
def test_numbers_that_were_in_or_come_twice_are_returned(spans, numbers):
    one = NumberSet(spans)

    known = one.add(np.array(numbers, np.int64)).tolist()

    assert set(known) == {n for n in numbers if n in united(spans) or numbers.count(n) > 1}
    assert members(one) == united(spans) | set(numbers)
    assert one.highest() == max(members(one), default=0)


@given(SPANS, st.integers(0, 80))
def test_count_and_discard_up_to_a_number(spans, upto):
    one = NumberSet(spans)

    assert one.count(upto) == sum(number <= upto for number in united(spans))
    one.discard_upto(upto)
    assert members(one) == {number for number in united(spans) if number > upto}


@given(SPANS)
def test_intervals_are_in_order_and_never_touch(spans):
    found = NumberSet(spans).spans()

    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(found))


def test_highest_numbers_there_are_cost_no_memory():
    every = NumberSet([(1, MAX_NUMBER)])

    left = every.without(NumberSet([(5, 5), (MAX_NUMBER, MAX_NUMBER)]))

    assert left.spans() == [(1, 4), (6, MAX_NUMBER - 1)]
    assert every.count(MAX_NUMBER) == MAX_NUMBER


def test_set_that_was_stored_already_is_doubled():
    count = Count()
    count.store(np.arange(1, 10))

    count.store_all(NumberSet([(5, 20)]))

    assert count.doubled.spans() == [(5, 9)]
    assert count.stored.spans() == [(1, 20)]
