"""The data of a metric that a figure uses."""

import math

import numpy as np
import pytest

from neural.tracking.figures.reduce import MAX_POINTS
from neural.tracking.figures.series import series_of, series_of_history
from neural.tracking.formats.events import NO_STEP
from tests.unit.figures.made import history, ranked, series

NAN = math.nan


def only(**metric):
    (one,) = series(**metric)
    return one


def test_short_series_is_kept_whole():
    one = only(loss=[3.0, 1.0, 2.0])

    assert one.line.x.tolist() == [0, 1, 2]
    assert one.line.y.tolist() == [3, 1, 2]
    assert (one.maximum, one.minimum, one.last) == ((0, 3), (1, 1), (2, 2))
    assert one.mean == 2
    assert one.points == one.finite == 3


def test_long_series_keeps_its_spikes_in_about_2000_points():
    values = np.sin(np.arange(300_000) / 5e4)
    values[123_456], values[222_222] = 7.0, -9.0

    one = only(loss=values)

    assert len(one.line.y) <= MAX_POINTS + 2
    assert one.line.y.max() == 7.0
    assert one.line.y.min() == -9.0
    assert one.maximum == (123_456, 7.0)


def test_nan_interrupts_the_line():
    one = only(loss=[1.0, 2.0, NAN, NAN, 3.0, 4.0])

    assert np.isnan(one.line.y).tolist() == [False, False, True, False, False]
    assert one.nan == 2


def test_scattered_nan_do_not_hide_a_long_series():
    values = np.arange(100_000.0)
    values[::100] = NAN

    one = only(loss=values)

    assert not np.isnan(one.line.y).any()
    assert one.nan == 1000


def test_gap_of_a_long_series_is_seen():
    values = np.sin(np.arange(100_000) / 1000)
    values[40_000:60_000] = NAN

    one = only(loss=values)

    assert np.isnan(one.line.y).sum() == 1


def test_line_does_not_lead_back_where_a_training_started_over():
    one = series_of_history([{"step": step, "loss": 1.0} for step in [0, 1, 2, 0, 1, 2]])[0]

    assert np.isnan(one.line.y).tolist() == [False, False, False, True, False, False, False]


def test_calls_without_a_step_are_counted():
    one = series_of_history([{"step": None, "loss": 1.0}, {"loss": 2.0}])[0]

    assert not one.has_steps
    assert one.line.x.tolist() == [0, 1]
    assert NO_STEP not in one.line.x


def test_entries_that_are_no_numbers_are_passed_over():
    found = series_of_history([{"step": 0, "loss": 1.0, "name": "resnet"}, {"step": 1, "loss": "0.5"}])

    assert [one.name for one in found] == ["loss"]
    assert found[0].points == 2


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], "linear"),
        ([1e-4, 1e-3, 1e-2, 1.0, 10.0], "log"),
        ([1.0, 1.1, 0.9, 1.0, 5000.0], "log"),
        ([1e-300, 1e300], "log"),
        ([-1e300, 1e-300, 1e300], "symlog"),
        ([0.0, 1e-5, 1e-3, 1.0, 1e6], "symlog"),
        ([5e-324, 1e-320], "log"),
        ([0.5] * 9, "linear"),
        ([-3.0, 5.0, 0.0, 1.0, 2.0], "linear"),
        ([NAN, NAN], "linear"),
    ],
)
def test_range_asks_for_its_scale(values, scale):
    assert only(loss=values).scale == scale


def test_sum_of_the_largest_floats_has_a_mean():
    assert only(loss=[1.7e308, 1.7e308]).mean == pytest.approx(1.7e308)


def test_noise_is_averaged_and_a_calm_curve_is_not():
    noise = np.random.default_rng(0).standard_normal(2000)

    assert only(loss=noise).window > 1
    assert np.abs(only(loss=noise).smooth.y).max() < 1
    assert only(loss=np.arange(2000.0)).smooth is None


def test_same_steps_of_long_and_short_metrics_are_sampled():
    found = series_of_history(
        [{"step": step, "all": step, **({"some": -step} if step % 10 == 5 else {})} for step in range(40_000)]
    )
    (steps, values), (some_steps, some_values) = found[0].sample, found[1].sample

    common = np.intersect1d(steps, some_steps)
    assert len(common) >= 1000
    assert (values[np.searchsorted(steps, common)] == -some_values[np.searchsorted(some_steps, common)]).all()


def test_ranks_become_their_mean_and_the_band_between_least_and_greatest():
    one = series_of(ranked("loss", [[1.0, 2.0], [3.0, 6.0]]))

    assert one.line.y.tolist() == [2, 4]
    assert one.band.low.tolist() == [1, 2]
    assert one.band.high.tolist() == [3, 6]
    assert one.points == 4


def test_rank_that_comes_last_is_named_with_its_delay():
    one = series_of(ranked("loss", np.ones((4, 50)), late_s=[0.0, 0.01, 0.02, 1.5]))

    assert one.ranks.slowest == 3
    assert one.ranks.remarks() == ["4 ranks, straggler: rank 3 (+1.5 s)"]


def test_rank_that_is_behind_is_named_with_its_steps():
    one = series_of(ranked("loss", np.ones((3, 50)), missing=(1, 40)))

    assert one.ranks.remarks() == ["3 ranks, straggler: rank 1 (10 steps behind)"]


def test_rank_far_from_the_others_is_named():
    one = series_of(ranked("loss", [np.ones(50), np.ones(50), np.full(50, 9.0), np.ones(50)]))

    assert one.ranks.remarks() == ["4 ranks", "outlier: rank 2"]


def test_ranks_that_go_together_name_nobody():
    values = np.random.default_rng(1).standard_normal((4, 200))

    assert series_of(ranked("loss", values)).ranks.remarks() == ["4 ranks"]


def test_history_is_made_as_described():
    assert history(a=[1.0], b=[2.0, 3.0])[1] == {"step": 1, "timestamp": "t", "b": 3.0}
