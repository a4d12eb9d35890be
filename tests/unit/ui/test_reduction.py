"""Thinning keeps every spike; smoothing is the documented mean."""

import numpy as np
import pytest

from neural.tracking.ui.data.reduction import memory, smoothed, thin


@pytest.mark.parametrize("place", [0, 1, 4_999, 73_210, 99_999])
def test_one_spike_among_many_points_is_kept(place):
    values = np.sin(np.arange(100_000) / 50)
    values[place] = 9.0

    kept = thin(values, 500)

    assert place in kept
    assert len(kept) <= 502


def test_first_and_last_point_are_kept():
    kept = thin(np.random.default_rng(0).standard_normal(10_000), 100)

    assert kept[0] == 0
    assert kept[-1] == 9_999
    assert np.all(np.diff(kept) > 0)


def test_few_points_are_all_kept():
    values = np.array([1.0, np.nan, np.inf, 2.0])

    assert thin(values, 100).tolist() == [0, 1, 2, 3]


def test_points_that_are_not_finite_do_not_hide_the_others():
    values = np.full(10_000, np.nan)
    values[::2] = 1.0
    values[4_000] = 5.0

    kept = thin(values, 100)

    assert 4_000 in kept
    assert np.isfinite(values[kept]).all()


@pytest.mark.parametrize("weight", [0.1, 0.9, 0.99])
@pytest.mark.parametrize("count", [1, 255, 256, 257, 1000])
def test_smoothing_is_the_moving_mean_without_bias(weight, count):
    values = np.random.default_rng(1).standard_normal(count)
    values[count // 3] = np.nan
    total = seen = 0.0
    expected = []
    for value in values:
        total, seen = total * weight, seen * weight
        if not np.isnan(value):
            total, seen = total + value, seen + 1
        expected.append(total / seen if seen and not np.isnan(value) else np.nan)

    np.testing.assert_allclose(smoothed(values, weight), expected, rtol=1e-9)


def test_no_smoothing_changes_nothing():
    values = np.array([3.0, 1.0])

    assert smoothed(values, 0.0) is values


@pytest.mark.parametrize("weight", [0.01, 0.6, 0.99])
def test_what_lies_further_back_than_the_memory_counts_for_nothing(weight):
    values = np.sin(np.arange(200_000.0))
    values[0], values[-150] = 1e300, np.nan

    whole = smoothed(values, weight)
    end = smoothed(values[-memory(weight) - 300 :], weight)

    np.testing.assert_allclose(end[-200:], whole[-200:], rtol=1e-9)
