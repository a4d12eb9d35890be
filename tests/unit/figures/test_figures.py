"""The figures of a run: content, texts, and the handling of bad values and names."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from neural.tracking import MetricVisualizer
from neural.tracking.figures.correlation import correlations
from neural.tracking.figures.saving import rendered
from neural.tracking.figures.series import series_of, series_of_history
from neural.tracking.figures.visualizer import all_plots
from tests.unit.figures.made import history, ranked, series, texts

NAN, INF = math.nan, math.inf


def drawn(figures):
    """Draw all of them, because errors of values occur only then."""
    return {name: texts(figure) for name, figure in figures.items()}


def panels(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}


def test_set_has_the_names_of_the_description():
    log = history(loss=[3.0, 2.0, 1.0], accuracy=[0.1, 0.2, 0.3])

    plots = MetricVisualizer.create_metric_plots(log, figsize=(10, 6))
    distributions = MetricVisualizer.create_distribution_plots(log)

    assert list(plots) == ["all_metrics_individual", "all_metrics_combined", "metric_correlation"]
    assert list(distributions) == ["metric_distributions"]
    assert all(isinstance(figure, Figure) for figure in [*plots.values(), *distributions.values()])
    assert all(figure.get_size_inches().tolist() == [10, 6] for figure in plots.values())


def test_one_metric_has_no_correlation():
    assert "metric_correlation" not in MetricVisualizer.create_metric_plots(history(loss=[1.0, 2.0]))


def test_each_metric_has_a_panel_with_its_values_and_marked_extremes():
    figure = MetricVisualizer.create_metric_plots(history(loss=[3.0, 1.0, 2.0], lr=[0.1, 0.1, 0.1]))[
        "all_metrics_individual"
    ]
    axes = panels(figure)["loss"]
    line, most, least = axes.lines

    assert list(panels(figure)) == ["loss", "lr"]
    assert line.get_ydata().tolist() == [3, 1, 2]
    assert (most.get_xydata().tolist(), most.get_marker()) == ([[0, 3]], "^")
    assert (least.get_xydata().tolist(), least.get_marker()) == ([[1, 1]], "v")
    assert "▲ 3 @ 0   ▼ 1 @ 1   last 2" in texts(figure)
    assert "constant 0.1" in texts(figure)
    low, high = axes.get_ylim()
    assert low < 1
    assert high > 3


def test_line_has_a_gap_at_nan_and_the_panel_says_so():
    figure = MetricVisualizer.create_metric_plots(history(loss=[1.0, NAN, 3.0, 4.0]))["all_metrics_individual"]

    assert np.isnan(figure.axes[0].lines[0].get_ydata()).any()
    assert any("1 NaN left out" in text for text in texts(figure))


def test_axis_is_logarithmic_where_the_range_asks_for_it():
    figure = MetricVisualizer.create_metric_plots(
        history(wide=list(np.logspace(-6, 2, 50)), narrow=list(np.linspace(1, 2, 50)))
    )["all_metrics_individual"]

    assert panels(figure)["wide"].get_yscale() == "log"
    assert panels(figure)["narrow"].get_yscale() == "linear"
    figure.canvas.draw()
    assert "10⁻⁶" in [label.get_text() for label in panels(figure)["wide"].get_yticklabels()]


def test_ranks_are_a_mean_in_a_band_with_the_straggler_named():
    one = series_of(ranked("loss", [[1.0, 2.0], [3.0, 4.0], [2.0, 3.0]], late_s=[0, 0, 2.0]))
    figure = all_plots([one])[0].draw()
    band = figure.axes[0].collections[0].get_datalim(figure.axes[0].transData)

    assert figure.axes[0].lines[0].get_ydata().tolist() == [2, 3]
    assert (band.y0, band.y1) == (1, 4)
    assert any("straggler: rank 2 (+2 s" in text for text in texts(figure))


def test_alike_metrics_share_their_units_and_others_are_drawn_in_their_own_range():
    alike = series(a=[1.0, 2.0, 3.0], b=[2.0, 2.5, 4.0])
    apart = series(a=[1.0, 2.0, 3.0], b=[1000.0, 3000.0, 2000.0])

    shared, own = (all_plots(found)[1].draw().axes[0] for found in (alike, apart))

    assert [line.get_ydata().tolist() for line in shared.lines[:2]] == [[1, 2, 3], [2, 2.5, 4]]
    assert [line.get_ydata().tolist() for line in own.lines[:2]] == [[0, 0.5, 1], [0, 1, 0.5]]


def test_legend_of_the_combined_plot_lies_beside_the_lines():
    found = series(**{f"a_rather_long_metric_name_{i}": [1.0, 2.0 + i] for i in range(12)})
    figure = all_plots(found)[1].draw()
    figure.canvas.draw()
    box = figure.axes[0].get_window_extent()
    legend = [text for text in figure.axes[0].texts if text.get_text().startswith("a_rather")]

    assert len(legend) == 12
    assert all(text.get_window_extent().x0 > box.x1 for text in legend)
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in legend)


def test_correlation_of_known_series():
    rising = np.arange(50.0)
    found = series(up=rising, down=-3 * rising, flat=np.ones(50), wave=np.sin(rising * 2 * np.pi / 49))

    r = correlations(found)

    assert r[0, 1] == pytest.approx(-1)
    assert r[0, 0] == pytest.approx(1)
    assert np.isnan(r[2]).all()
    assert r[0, 3] == pytest.approx(np.corrcoef(rising, np.sin(rising * 2 * np.pi / 49))[0, 1])


def test_correlation_takes_the_steps_both_have():
    log = [
        {"step": step, "a": step, **({"b": 2 * step} if step % 3 == 0 else {"c": -step})} for step in range(30)
    ]
    found = series_of_history(log)

    r = correlations(found)

    assert r[0, 1] == pytest.approx(1)
    assert r[0, 2] == pytest.approx(-1)
    assert np.isnan(r[1, 2])


def test_histogram_counts_every_finite_value_and_marks_the_mean():
    values = [1.0] * 70 + [3.0] * 30 + [NAN]
    figure = MetricVisualizer.create_distribution_plots(history(loss=values))["metric_distributions"]
    axes = figure.axes[0]

    assert axes.patches[0].get_data().values.sum() == 100
    assert axes.lines[0].get_xdata()[0] == pytest.approx(1.6)
    assert any("mean 1.6   100 values   1 NaN left out" in text for text in texts(figure))


@pytest.mark.parametrize(("count", "pages"), [(3, 1), (30, 2), (300, 13)])
def test_many_metrics_are_paged(count, pages):
    found = series(**{f"metric_{i}": [float(i), 1.0] for i in range(count)})

    names = [plot.name for plot in all_plots(found)]

    assert sum(name.startswith("all_metrics_individual") for name in names) == pages
    assert names[0] == "all_metrics_individual"
    assert pages < 2 or "all_metrics_individual_2" in names


def test_first_page_says_that_there_are_more():
    found = series(**{f"metric_{i}": [float(i), 1.0] for i in range(30)})

    figure = all_plots(found, title="run", remark="running")[0].draw()

    assert len(panels(figure)) == 24
    assert "page 1 of 2: metrics 1 to 24 of 30, running" in texts(figure)


def test_no_metrics_are_a_note():
    for name, figure in {
        **MetricVisualizer.create_metric_plots([]),
        **MetricVisualizer.create_distribution_plots([]),
    }.items():
        assert any("no metrics logged yet" in text for text in texts(figure)), name


BAD = {
    "one point": ([1.5], "one point"),
    "all NaN": ([NAN] * 9, "all 9 values are NaN"),
    "all infinite": ([INF, -INF], "all 2 values are infinite"),
    "NaN and infinite": ([INF, NAN], "all 2 values are NaN or infinite"),
    "constant": ([0.1] * 50, "constant 0.1"),
    "zeros": ([0.0] * 50, "constant 0"),
    "tiny and huge": ([1e-300, 1e300], "▲ 1e300 @ 1   ▼ 1e−300 @ 0   last 1e300"),
    "both signs": ([-1e300, 1e-300, 1e300, 0.0], "▲ 1e300 @ 2   ▼ −1e300 @ 0   last 0"),
    "largest": ([1.7976931348623157e308, -1.7976931348623157e308], "▲ 1.798e308 @ 0"),
    "constant huge": ([1.79e308] * 2, "constant 1.79e308"),
    "subnormal": ([5e-324, 1e-320], "▲ 1e−320 @ 1"),
    "last digits": (list(1e6 + 1e-9 * np.arange(300)), "▲ 1000000.000000299 @ 299"),
    "infinite ones": ([1.0, INF, 2.0], "1 infinite left out"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_values_are_a_picture_or_a_note(what):
    values, note = BAD[what]
    log = history(loss=values, other=[1.0, 2.0, 3.0])

    plots = {**MetricVisualizer.create_metric_plots(log), **MetricVisualizer.create_distribution_plots(log)}

    assert any(note in text for text in drawn(plots)["all_metrics_individual"])


def test_metric_logged_once_among_many_is_drawn():
    log = history(loss=list(np.linspace(1, 0, 500)))
    log[200]["once"] = 3.0

    plots = drawn(MetricVisualizer.create_metric_plots(log))

    assert {"once", "constant 3", "one point"} <= set(plots["all_metrics_individual"])


@pytest.mark.parametrize(
    "name",
    [
        "cost_$x^2$_{bad", "$\\frac", "<b>&amp;", "دقة/خسارة", "אבדן", "loss \U0001f680 中文", "%s {0}",
        "l" * 200, "e\u0301\u200d", "a/" * 100,
    ],
)  # fmt: skip
def test_any_name_is_drawn_within_its_panel(name):
    log = history(**{name: [1.0, 2.0, 3.0], "other": [3.0, 2.0, 1.0], "third": [0.0] * 3})
    plots = {**MetricVisualizer.create_metric_plots(log), **MetricVisualizer.create_distribution_plots(log)}

    drawn(plots)

    figure = plots["all_metrics_individual"]
    for axes in figure.axes:
        title = axes.title if axes.title.get_text() else axes._left_title
        assert title.get_window_extent().x1 < axes.get_window_extent().x1 + 0.3 * figure.dpi


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_figure_is_saved_in_every_format_and_twice_the_same(kind, start):
    figure = all_plots(series(loss=[1.0, 2.0]))[0].draw()

    first, second = rendered(figure, kind), rendered(figure, kind)

    assert first.startswith(start)
    assert first == second


def test_style_does_not_depend_on_what_the_process_has_set():
    import matplotlib as mpl

    plain = rendered(all_plots(series(loss=[1.0, 2.0]))[0].draw())
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 20, "lines.linewidth": 9}):
        assert rendered(all_plots(series(loss=[1.0, 2.0]))[0].draw()) == plain
