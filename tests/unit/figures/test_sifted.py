"""A metric that is too long for memory is drawn from a part of its points as from all of them."""

import math
import tracemalloc

import numpy as np
import pytest

from neural.tracking.figures.run import read_series
from neural.tracking.figures.series import series_of
from neural.tracking.reader import downsample
from neural.tracking.reader.run import Run
from tests.made_runs import Emitter, Log, applied, folder_of

POINTS = 6000


@pytest.fixture
def small(monkeypatch):
    """Sift what is short, so that the tests are."""
    monkeypatch.setattr(downsample, "DOWNSAMPLED_ABOVE", 4000)
    monkeypatch.setattr(downsample, "KEPT_POINTS", 2000)


def stored(tmp_path, metric, *, ranks=1, points=POINTS, step_of=lambda place: place):
    """Return a run, half of it compacted and half of it in its tail."""
    log = Log(tmp_path)
    first = Emitter(name="long")
    emitters = [first, *(Emitter(first.uid, rank=rank, role="rank", name="long") for rank in range(1, ranks))]
    sink = None
    for half in (range(points // 2), range(points // 2, points)):
        for emitter in emitters:
            if not half.start:
                emitter.open()
            for place in half:
                emitter.metrics({"loss": metric(place, emitter.info["rank"])}, step=step_of(place))
            log.add(emitter)
        sink = applied(log, sink, None if sink is None else sink.position)
        if not half.start:
            for writer in sink.writers.values():
                writer.compact()
            sink.flush()
    sink.close()
    return Run(folder_of(log, first))


def both(run):
    """Return the series made from a part of the points, and the one made from all."""
    (sifted,) = read_series(run)
    assert run.downsampled_metric("loss") is not None
    return sifted, series_of(run.metric("loss", ranks="all"))


def noisy(place, rank):
    if place == 4321:
        return 9.0
    if place == 1234 and rank == 0:
        return -7.0
    if place % 500 == 17:
        return math.nan
    return math.sin(place * 7919.0 + rank) + 0.1 * rank


@pytest.mark.parametrize("ranks", [1, 3])
def test_extremes_ends_and_counts_are_those_of_all_points(tmp_path, small, ranks):
    sifted, whole = both(stored(tmp_path, noisy, ranks=ranks))

    assert (sifted.minimum, sifted.maximum, sifted.last) == (whole.minimum, whole.maximum, whole.last)
    assert (sifted.points, sifted.nan, sifted.infinite) == (whole.points, whole.nan, whole.infinite)
    assert sifted.mean == pytest.approx(whole.mean)
    assert sifted.scale == whole.scale
    assert sifted.ranks == whole.ranks
    assert sifted.window == pytest.approx(whole.window, rel=0.3)


def test_band_of_the_ranks_reaches_as_far(tmp_path, small):
    sifted, whole = both(stored(tmp_path, noisy, ranks=3))

    assert np.nanmin(sifted.band.low) == np.nanmin(whole.band.low) == -7.0
    assert np.nanmax(sifted.band.high) == np.nanmax(whole.band.high) == 9.0


def test_step_at_which_the_mean_of_the_ranks_peaks_is_kept_though_no_rank_does_there(tmp_path, small):
    def metric(place, rank):
        if place == 3003:
            return 4.0
        return 5.0 if place % 20 == rank else math.sin(place * 7919.0) / 10

    sifted, _ = both(stored(tmp_path, metric, ranks=3))

    assert sifted.maximum == (3003, 4.0)


def test_distribution_is_that_of_all_points_and_not_of_the_extremes(tmp_path, small):
    bell = np.random.default_rng(1).standard_normal(POINTS)
    sifted, whole = both(stored(tmp_path, lambda place, rank: bell[place]))

    assert sifted.histogram.counts.sum() == pytest.approx(POINTS, rel=0.02)
    assert beyond(sifted.histogram, 2.2) == pytest.approx(beyond(whole.histogram, 2.2), abs=0.015)


def beyond(histogram, value):
    middles = np.abs(histogram.edges[1:] + histogram.edges[:-1]) / 2
    return histogram.counts[middles > value].sum() / histogram.counts.sum()


def test_training_that_started_over_is_cut_where_it_did(tmp_path, small):
    run = stored(tmp_path, lambda place, rank: float(place), step_of=lambda place: place % (POINTS // 2))

    (sifted,) = read_series(run)

    assert np.isnan(sifted.line.y).sum() == 1


def test_points_that_all_have_one_step_are_made_few_too(tmp_path, small):
    run = stored(
        tmp_path, lambda place, rank: 5.0 if place == 777 else math.sin(place), step_of=lambda place: 3
    )

    found = run.downsampled_metric("loss")

    assert found.points == POINTS
    assert len(found.columns) < POINTS
    assert found.columns.value.max() == 5.0


def test_few_steps_of_many_points_have_the_mean_of_what_each_rank_logged_last(tmp_path, small):
    def metric(place, rank):
        return 3.5 + rank if place % 1000 == 999 else float(place % 7)

    run = stored(tmp_path, metric, ranks=2, step_of=lambda place: place // 1000)

    sifted, _ = both(run)

    mean = run.metric("loss")
    assert (sifted.line.x.tolist(), sifted.line.y.tolist()) == (mean.step.tolist(), mean.value.tolist())


def test_values_at_the_ends_of_what_a_float_holds_have_a_mean(tmp_path, small):
    run = stored(tmp_path, lambda place, rank: 1.7e308)

    assert run.downsampled_metric("loss").mean == pytest.approx(1.7e308)


def test_short_metric_is_read_whole(tmp_path):
    assert stored(tmp_path, noisy, points=100).downsampled_metric("loss") is None


def test_memory_is_a_share_of_what_all_points_would_take(tmp_path, monkeypatch):
    monkeypatch.setattr(downsample, "DOWNSAMPLED_ABOVE", 4000)
    monkeypatch.setattr(downsample, "KEPT_POINTS", 2000)
    monkeypatch.setattr(downsample, "MEAN_STEPS", 1024)
    run = stored(tmp_path, noisy, ranks=2, points=20_000)
    run.metric("loss", ranks="all")  # the files' other data is cached from now on

    peaks = []
    for read in (run.downsampled_metric, lambda name: run.metric(name, ranks="all")):
        tracemalloc.start()
        read("loss")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[0] < peaks[1] / 2, peaks
