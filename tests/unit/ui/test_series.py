"""Curves: the logged values, thinned and cut as requested, and never partial."""

import functools
import math
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from neural.tracking.errors import DataDamagedError
from neural.tracking.formats.parts import PartReader
from neural.tracking.ui.data.reduction import smoothed
from neural.tracking.ui.data.series import SeriesStore, _cache
from tests.made_runs import Emitter


@pytest.fixture
def series():
    return SeriesStore()


def one(series, folder, metric="loss", **how):
    (drawn,) = series.drawn([folder], metric, **how)
    assert not isinstance(drawn, Exception), drawn
    return drawn


def test_curve_is_what_was_logged(runs, series):
    folder = runs.folder(runs.add(points=50))

    (line,) = one(series, folder)

    assert line.x.tolist() == list(range(50))
    assert line.y.tolist() == [1 / (step + 1) for step in range(50)]
    assert line.total == 50


def test_spike_is_seen_in_the_overview_and_in_full_after_zooming(runs, series):
    emitter = runs.add(points=30_000, metric=lambda step: 9.0 if step == 12_345 else math.sin(step))
    folder = runs.folder(emitter)

    (overview,) = one(series, folder, count=400)
    (zoomed,) = one(series, folder, count=400, span=(12_300, 12_400))

    assert len(overview.x) <= 402
    assert overview.total == 30_000
    assert overview.x[overview.y.argmax()] == 12_345
    assert zoomed.total == 103  # and one point on each side, so that lines continue outside of the view
    assert zoomed.x.tolist() == list(range(12_299, 12_402))


def test_steps_in_any_order_become_a_curve_in_order(runs, series):
    emitter = Emitter(name="shuffled")
    emitter.open()
    for step in (5, 1, 3, 2, 4):
        emitter.metrics({"loss": float(step)}, step=step)
    runs.write(emitter)

    (line,) = one(series, runs.folder(emitter))

    assert line.x.tolist() == line.y.tolist() == [1, 2, 3, 4, 5]


def ranks(runs, count=3):
    first = Emitter(name="ranks")
    others = [Emitter(first.uid, rank=rank, role="rank", name="ranks") for rank in range(1, count)]
    for rank, emitter in enumerate([first, *others]):
        emitter.open()
        for step in range(10):
            emitter.metrics({"loss": step + 10.0 * rank}, step=step)
    runs.write(first, *others)
    return runs.folder(first)


def test_ranks_are_a_mean_with_a_band(runs, series):
    (line,) = one(series, ranks(runs), ranks="band")

    assert line.y.tolist() == [step + 10.0 for step in range(10)]
    assert line.low.tolist() == [float(step) for step in range(10)]
    assert line.high.tolist() == [step + 20.0 for step in range(10)]


def test_ranks_are_lines_of_their_own(runs, series):
    lines = one(series, ranks(runs), ranks="lines")

    assert [line.rank for line in lines] == [0, 1, 2]
    assert lines[2].y.tolist() == [step + 20.0 for step in range(10)]


def test_best_of_several_ranks_is_that_of_their_mean(runs, series):
    assert series.best(ranks(runs), "loss", "max") == (19.0, 9)


def test_smoothing_keeps_what_was_logged_in_sight(runs, series):
    folder = runs.folder(runs.add(points=100, metric=lambda step: float(step % 2)))

    (line,) = one(series, folder, weight=0.9)

    assert np.ptp(line.y[50:]) < 0.2
    assert line.faint[1].tolist() == [float(step % 2) for step in range(100)]


def test_values_that_are_not_finite_are_counted(runs, series):
    folder = runs.folder(
        runs.add(points=9, metric=lambda step: math.nan if step == 4 else math.inf if step == 5 else 1.0)
    )

    (line,) = one(series, folder)

    assert line.not_finite == 2


def test_curve_of_a_live_run_grows_through_compaction(runs, series):
    emitter = runs.add(points=10, end=None)
    folder = runs.folder(emitter)
    lengths = [len(one(series, folder)[0].x)]
    for step in range(10, 13):
        runs.write(emitter.metrics({"loss": 0.0}, step=step))
        if step == 11:
            runs.compact()
        lengths.append(len(one(series, folder)[0].x))

    assert lengths == [10, 11, 12, 13]


def test_many_threads_see_all_points_of_a_live_run(runs):
    first = Emitter(name="live")
    second = Emitter(first.uid, rank=1, role="rank", name="live")
    for step in range(150):  # in turns, so that the tail has many ranges to decode
        for emitter in (first, second):
            runs.log.add(emitter.metrics({"loss": 1.0}, step=step))
    runs.write(first, second)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(10):
            series = SeriesStore()  # nothing is cached yet: all of them read at the same time
            with ThreadPoolExecutor(8) as pool:
                ask = functools.partial(one, series, runs.folder(first))
                found = list(pool.map(lambda count: ask(count=count), range(300, 316)))  # noqa: B023
            assert {lines[0].total for lines in found} == {150}
    finally:
        sys.setswitchinterval(before)


def test_metric_nobody_logged_has_no_line(runs, series):
    assert one(series, runs.folder(runs.add()), "no such metric") == []


def test_curve_against_steps_decodes_values_and_steps_only(runs, series, monkeypatch):
    emitter = runs.add(points=50)
    runs.compact()
    read, decode = [], PartReader.read
    monkeypatch.setattr(
        PartReader, "read", lambda self, groups, columns: read.append(columns) or decode(self, groups, columns)
    )

    (by_step,) = one(series, runs.folder(emitter))
    (by_time,) = one(series, runs.folder(emitter), by_time=True)

    assert "time" not in read[0]
    assert "seq" not in read[0]
    assert by_step.x.tolist() == list(range(50))
    assert len(set(by_time.x.tolist())) == 50
    assert by_time.y.tolist() == by_step.y.tolist()


def test_run_that_is_gone_or_damaged_does_not_hide_the_others(runs, series):
    whole, gone, hurt = (runs.add(name, 20) for name in ("whole", "gone", "hurt"))
    runs.compact()
    shutil.rmtree(runs.folder(gone))
    runs.damage_values(hurt)

    found = series.drawn([runs.folder(e) for e in (whole, gone, hurt)], "loss")

    assert found[0][0].total == 20
    assert isinstance(found[1], FileNotFoundError)
    assert "damaged" in str(found[2])


def test_run_with_a_damaged_footer_is_told_instead_of_drawn_from_its_other_parts(runs, series):
    hurt = runs.add("hurt", 20, end=None)
    runs.compact()
    runs.write(*(hurt.metrics({"loss": 9.0}, step=step) for step in range(20, 30)))
    runs.compact()
    name = runs.damage_footer(hurt)

    (found,) = series.drawn([runs.folder(hurt)], "loss")

    assert name in str(found)
    with pytest.raises(DataDamagedError, match=name):
        series.best(runs.folder(hurt), "loss", "max")


def test_what_is_kept_stays_within_its_bytes():
    store, cache = SeriesStore(), _cache(100, len)
    for key in range(50):
        store._cached(cache, key, 0, lambda: b"x" * 30)

    assert cache.currsize <= 100
    assert len(cache) == 3


def test_what_is_larger_than_all_that_may_be_kept_is_kept_alone():
    store, cache = SeriesStore(), _cache(100, len)
    store._cached(cache, "small", 0, lambda: b"x")

    assert store._cached(cache, "large", 0, lambda: b"x" * 300) == b"x" * 300
    assert list(cache) == ["large"]


def test_what_is_kept_is_made_again_once_its_signature_changed():
    store, cache = SeriesStore(), _cache(100, len)

    assert store._cached(cache, "a", 1, lambda: b"old") == b"old"
    assert store._cached(cache, "a", 1, lambda: b"new") == b"old"
    assert store._cached(cache, "a", 2, lambda: b"new") == b"new"
    assert cache.currsize == 3


def test_zoom_into_a_smoothed_curve_does_not_change_its_course(runs, series):
    folder = runs.folder(runs.add(points=4000, metric=lambda step: 1e9 if step == 40 else math.sin(step)))

    (whole,) = one(series, folder, weight=0.3, count=10**6)
    (zoomed,) = one(series, folder, weight=0.3, count=10**6, span=(3500, 3600))

    np.testing.assert_allclose(zoomed.y, whole.y[np.isin(whole.x, zoomed.x)], rtol=1e-9)


def test_zoom_smooths_no_more_than_what_counts(runs, series, monkeypatch):
    folder = runs.folder(runs.add(points=6000))
    lengths = []

    def seen(values, weight):
        lengths.append(len(values))
        return smoothed(values, weight)

    monkeypatch.setattr("neural.tracking.ui.data.series.smoothed", seen)
    one(series, folder, weight=0.5, span=(5500, 5600))

    assert lengths[0] < 3000
