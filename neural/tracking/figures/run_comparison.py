"""Compares several runs: reads them once, then makes plots and a summary of their differences."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neural.tracking.core.metric_direction import better
from neural.tracking.core.times import iso_time
from neural.tracking.figures.names import most_informative_first
from neural.tracking.figures.run import read_series
from neural.tracking.figures.series import Point, Series
from neural.tracking.figures.visualizer import Plot
from neural.tracking.params.plain import flat_params

if TYPE_CHECKING:
    from neural.tracking.reader.run import Run

MAX_METRICS = 48
BETTER_WORDS = {"min": "smaller", "max": "greater", None: "unknown"}
PARAMETERS = "hyperparameter_comparison"
BEST = "best_metrics_comparison"


class Comparison:
    """Runs and the metrics to compare.

    Without ``metrics`` it compares all metrics of the runs, at most 48: those that most runs have, and of these
    the most informative. ``left_out`` has the names of the others.
    """

    def __init__(self, runs: Sequence[Run], metrics: Sequence[str] | None = None) -> None:
        """Choose the metrics; the values are read at first use.

        Raises:
            KeyError: no run has one of ``metrics``.
            ValueError: ``runs`` is empty.
        """
        if not runs:
            raise ValueError("a comparison needs at least one run")
        self.runs = list(runs)
        self._names = [set(run.metric_names()) for run in runs]
        counted = Counter(name for names in self._names for name in names)
        for name in metrics or ():
            if name not in counted:
                known = ", ".join(most_informative_first(counted)[:12]) or "none"
                raise KeyError(f"no run has a metric {name!r}; the runs have {known}")
        everything = sorted(most_informative_first(counted), key=lambda name: -counted[name])
        self.metrics = everything[:MAX_METRICS] if metrics is None else list(dict.fromkeys(metrics))
        self.left_out = everything[MAX_METRICS:] if metrics is None else []

    @functools.cached_property
    def labels(self) -> list[str]:
        """The label of each run: its name, and its id if another run has the same name."""
        shared = Counter(run.name for run in self.runs)
        return [run.name if shared[run.name] == 1 else f"{run.name} · {run.id}" for run in self.runs]

    @functools.cached_property
    def parameters(self) -> list[dict[str, Any]]:
        """The flat parameters of each run."""
        return [flat_params(run.params) for run in self.runs]

    @functools.cached_property
    def series(self) -> list[dict[str, Series]]:
        """The reduced metrics of each run by name. The first access reads the run folders and blocks; it raises
        FormatError if a part is damaged.
        """
        found = []
        for run, names in zip(self.runs, self._names, strict=True):
            chosen = [name for name in self.metrics if name in names]
            found.append({one.name: one for one in read_series(run, chosen)})
        return found

    def best(self, metric: str) -> list[Point | None]:
        """Return the best point of a metric for each run; None if the run has none, or if best is unknown."""
        direction = better(metric)
        known = [one.get(metric) if direction else None for one in self.series]
        return [None if one is None else one.minimum if direction == "min" else one.maximum for one in known]

    def best_run(self, metric: str) -> int | None:
        """Return the index of the run with the best value; None if no run has one, or if best is unknown."""
        points = [(point.y, place) for place, point in enumerate(self.best(metric)) if point is not None]
        if not points:
            return None
        return min(points)[1] if better(metric) == "min" else max(points, key=lambda found: found[0])[1]

    def plots(self, figsize: tuple[float, float] | None = None) -> list[Plot]:
        """Return the plots of the metrics, the parameters and the best values, not drawn yet.

        The plot of a metric is named ``comparison_<metric>``. ``figsize`` is in inches.
        """
        from neural.tracking.figures.best import best_metrics
        from neural.tracking.figures.comparison import compare_metric
        from neural.tracking.figures.parameters import hyperparameters

        found = []
        for name in self.metrics:
            lines = [(label, one.get(name)) for label, one in zip(self.labels, self.series, strict=True)]
            draw = functools.partial(compare_metric, name, lines, figsize=figsize)
            found.append(Plot(f"comparison_{name}", draw))
        best = {name: self._bars(name) for name in self.metrics}
        draw = functools.partial(hyperparameters, self.parameters, self.labels, figsize=figsize)
        found.append(Plot(PARAMETERS, draw))
        found.append(Plot(BEST, functools.partial(best_metrics, best, self.labels, figsize=figsize)))
        return found

    def _bars(self, metric: str) -> list[float | None]:
        """Return the best value of each run, or its last value if best is unknown."""
        points = self.best(metric)
        if better(metric) is None:
            points = [one[metric].last if metric in one else None for one in self.series]
        return [None if point is None else point.y for point in points]

    def summary(self) -> dict[str, Any]:
        """Return the content of ``comparison_summary.json``: the runs, their metrics and their differences."""
        from neural.tracking.figures.parameters import table_rows

        rows = table_rows(self.parameters)
        return {
            "experiments": [_description(run) for run in self.runs],
            "metrics": {name: self._metric_summary(name) for name in self.metrics},
            "metrics_left_out": self.left_out,
            "hyperparameters_that_differ": [name for name, _, differs in rows if differs],
        }

    def _metric_summary(self, name: str) -> dict[str, Any]:
        best_run = self.best_run(name)
        values = {}
        for run, one in zip(self.runs, self.series, strict=True):
            if name in one:
                values[run.id] = _values(one[name])
        return {
            "better": BETTER_WORDS[better(name)],
            "best_experiment": None if best_run is None else self.runs[best_run].id,
            "experiments": values,
        }


def _description(run: Run) -> dict[str, Any]:
    end = run.end_ns
    return {
        "experiment_id": run.id,
        "experiment_name": run.name,
        "experiment_dir": str(run.folder),
        "status": run.status,
        "start_time": iso_time(run.start_ns),
        "end_time": iso_time(end),
        "duration_s": None if end is None else round((end - run.start_ns) / 1e9, 6),
        "tags": run.tags,
        "hyperparameters": run.params,
    }


def _values(series: Series) -> dict[str, Any]:
    found: dict[str, Any] = {"count": series.points, "mean": series.mean}
    for word, point in (("last", series.last), ("min", series.minimum), ("max", series.maximum)):
        found[word] = None if point is None else point.y
        found[f"{word}_step"] = None if point is None or not series.has_steps else int(point.x)
    return found
