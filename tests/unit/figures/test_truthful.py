"""Figures are not misleading about best runs, ticks, names and ranks."""

import math

import numpy as np
import pytest
from matplotlib.text import Text

from neural.tracking.cli.curve import curve
from neural.tracking.cli.plot import _name
from neural.tracking.figures.axes import Plain
from neural.tracking.figures.best import best_metrics
from neural.tracking.figures.comparison import compare_metric
from neural.tracking.figures.series import series_of, series_of_history
from neural.tracking.figures.texts import distinct_texts
from neural.tracking.figures.visualizer import MetricVisualizer
from tests.unit.figures.made import ranked


def series(values, name="loss"):
    return series_of_history([{"step": step, name: value} for step, value in enumerate(values)])[0]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_best_of_more_runs_than_are_drawn_is_among_them():
    labels = [f"run{i}" for i in range(60)]
    figure = best_metrics({"acc": [i / 100 for i in range(60)], "recall": [None] * 59 + [7.0]}, labels)

    for axes, best in zip(figure.axes, ("0.59", "7"), strict=True):
        bold = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
        assert bold == [best]
        assert "run59" in [label.get_text() for label in axes.get_yticklabels()]
    assert any("the best 24 of 60 runs" in text.get_text() for text in figure.texts)


def test_best_runs_of_many_are_drawn_and_none_looks_like_another():
    runs = [(f"run{i}", series([2.0, 1.0 - i / 100])) for i in range(60)]
    lines = compare_metric("loss", runs).axes[0].lines

    drawn = [line for line in lines if str(line.get_label()).startswith("run")]
    assert {line.get_label() for line in drawn} == {f"run{i}" for i in range(36, 60)}
    assert len({(line.get_color(), str(line.get_linestyle()), str(line._dash_pattern)) for line in drawn}) == 24


def test_names_stand_beside_bars_below_zero():
    (axes,) = best_metrics({"reward": [-200.0, -20.0]}, ["first", "second"]).axes

    axes.figure.canvas.draw()
    left = axes.get_window_extent().x0
    for label in axes.get_yticklabels():
        assert label.get_window_extent().x1 <= left


@pytest.mark.parametrize("start", [1.7e9, 1e12, 1e15, 1.0, -1e12])
def test_ticks_far_from_zero_count_from_one_that_is_seen_and_exact(start):
    apart = max(1e-8, abs(start) * 1e-9)
    figure = MetricVisualizer.create_metric_plots(
        [{"step": i, "value": start + i * apart} for i in range(100)]
    )["all_metrics_individual"]
    figure.canvas.draw()
    (axes,) = figure.axes
    low, high = axes.get_ylim()

    seen = {
        label.get_text().replace("\u2212", "-").replace("\u2009", ""): tick
        for label, tick in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
        if low <= tick <= high
    }

    bases = [text for text, tick in seen.items() if tick == pytest.approx(float(text), rel=1e-12)]
    assert len(bases) == 1
    for text, tick in seen.items():
        if text not in bases:
            assert float(text) == pytest.approx(tick - float(bases[0]), rel=1e-3)


def test_tick_that_is_not_seen_is_no_base():
    formatter = Plain()
    figure = MetricVisualizer.create_metric_plots([{"step": 0, "a": 1.0}])["all_metrics_individual"]
    axes = figure.axes[0]
    axes.set_ylim(1.7e9 + 10, 1.7e9 + 130)
    formatter.set_axis(axes.yaxis)

    told = formatter.format_ticks([1.7e9, 1.7e9 + 50, 1.7e9 + 100])

    assert told == ["\u2212100", "\u221250", "1.7000001e9"]


def test_names_that_would_be_cut_alike_are_told_apart():
    layers = [f"encoder/layers/{i}/attention/self/query/weight/grad_norm_very_long" for i in range(12)]
    rates = [f"resnet50_imagenet_lr{rate}_wd1e-4_bs256_aug_cutmix_seed0" for rate in (0.1, 0.01, 0.001)]

    assert len(set(distinct_texts(layers, 28))) == 12
    assert [text.split("_")[0] for text in distinct_texts(rates, 20)] == ["…lr0.1", "…lr0.01", "…lr0.001"]
    assert distinct_texts(["same" * 20, "same" * 20, "short"], 12)[2] == "short"


def test_one_ranks_nan_does_not_hide_how_the_others_went_on():
    healthy = np.linspace(1.0, 0.5, 60)
    broken = np.where(np.arange(60) > 30, np.nan, healthy)
    made = series_of(ranked("loss", [broken, healthy, healthy]))

    assert (made.line.x[-1], made.line.y[-1]) == (59, 0.5)
    assert "NaN of rank 0" in made.ranks.remarks()


def test_ranks_that_are_evenly_spread_have_no_outlier_and_one_far_off_has():
    course = np.linspace(1.0, 0.5, 60)
    even = series_of(ranked("loss", [course + 0.05 * rank for rank in range(4)]))
    off = series_of(ranked("loss", [course, course + 2.0, course + 0.01]))

    assert even.ranks.farthest is None
    assert off.ranks.farthest == 1


def test_ranks_that_differ_around_a_constant_mean_are_not_constant():
    made = series_of(ranked("gpu", [np.zeros(20), np.full(20, 100.0)]))

    assert (made.constant, made.level) == (False, True)


def test_axis_goes_to_the_last_step_that_was_logged():
    history = [{"step": i, "loss": 1.0 / (i + 1) if i < 40 else math.nan} for i in range(100)]
    (axes,) = MetricVisualizer.create_metric_plots(history)["all_metrics_individual"].axes

    assert axes.get_xlim()[1] >= 99


def test_curve_on_the_terminal_is_labelled_with_what_it_shows():
    values = np.sin(np.arange(5000) * 12.9898) * np.cos(np.arange(5000) * 78.233) * 0.1 + 1.0
    values[1000] = 50.0
    drawn = curve(series(values), 60, 6)

    assert "50" not in drawn[1]
    assert "mean of" in drawn[0]


def test_smallest_floats_there_are_give_a_picture():
    figures = MetricVisualizer.create_metric_plots([{"step": i, "loss": 5e-324 * i} for i in range(20)])

    for figure in figures.values():
        figure.canvas.draw()


def test_picture_of_a_metric_nobody_knows_the_best_of_tells_its_last_value_and_no_best():
    runs = [(f"run{i}", series([2.0, float(i), 1.0])) for i in range(60)]

    few, many = (texts_of(compare_metric("own", runs[:count])) for count in (3, 60))

    assert few.count("last 1 at 2") == 3
    assert "the first 24 of 60 runs" in many
    assert not any("best" in text or text.startswith(("min ", "max ")) for text in [*few, *many])


def test_no_bar_wins_where_nobody_knows_which_way_is_better():
    figure = best_metrics({"own": [1.0, 2.0], "val/dice": [0.9, 0.6]}, ["first", "second"])

    dice, own = figure.axes
    bold = [[text.get_text() for text in axes.texts if text.get_fontweight() == "bold"] for axes in (dice, own)]
    assert bold == [["0.9"], []]
    assert "greater is better" in texts_of(dice)
    assert "last values; the better direction is unknown" in texts_of(own)


def texts_of(axes):
    return [text.get_text() for text in axes.findobj(Text)]


def test_plots_of_other_metrics_have_other_files():
    known = ["a/b", "a_b", "c", "d"]
    choices = [["a/b"], ["a_b"], ["c"], ["c", "d"], ["c", "a_b"], ["c", "a_b", "d"]]

    assert len({_name(choice, known) for choice in choices}) == len(choices)
