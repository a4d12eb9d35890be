"""Several runs side by side: read once, then figures and a summary of what sets them apart."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neural.tracking.core.metric_direction import better
from neural.tracking.core.times import iso_time
from neural.tracking.figures.names import most_telling_first
from neural.tracking.figures.run import read_series
from neural.tracking.figures.series import Point, Series
from neural.tracking.figures.visualizer import Picture
from neural.tracking.params.plain import flat_params

if TYPE_CHECKING:
    from neural.tracking.reader.run import Run

MOST_METRICS = 48
BETTER_WORDS = {"min": "smaller", "max": "greater", None: "unknown"}
PARAMETERS = "hyperparameter_comparison"
BEST = "best_metrics_comparison"


class Comparison:
    """Runs and the metrics to compare them by.

    Without ``metrics`` these are all that any run has, of very many the 48 that most runs have and
    that tell most; ``left_out`` names the others.
    """

    def __init__(self, runs: Sequence[Run], metrics: Sequence[str] | None = None) -> None:
        """Choose the metrics; values are read at first use.

        Raises:
            KeyError: no run has a metric that was asked for.
            ValueError: there is no run.
        """
        if not runs:
            raise ValueError("a comparison wants at least one run")
        self.runs = list(runs)
        self._names = [set(run.metric_names()) for run in runs]
        counted = Counter(name for names in self._names for name in names)
        for name in metrics or ():
            if name not in counted:
                there = ", ".join(most_telling_first(counted)[:12]) or "none"
                raise KeyError(f"no run has a metric {name!r}; there are {there}")
        everything = sorted(most_telling_first(counted), key=lambda name: -counted[name])
        self.metrics = everything[:MOST_METRICS] if metrics is None else list(dict.fromkeys(metrics))
        self.left_out = everything[MOST_METRICS:] if metrics is None else []

    @functools.cached_property
    def labels(self) -> list[str]:
        """What each run is called: its name, with its id where others share that."""
        shared = Counter(run.name for run in self.runs)
        return [run.name if shared[run.name] == 1 else f"{run.name} · {run.id}" for run in self.runs]

    @functools.cached_property
    def parameters(self) -> list[dict[str, Any]]:
        """Each run's parameters, flat."""
        return [flat_params(run.params) for run in self.runs]

    @functools.cached_property
    def series(self) -> list[dict[str, Series]]:
        """Each run's metrics by name, reduced."""
        found = []
        for run, names in zip(self.runs, self._names, strict=True):
            chosen = [name for name in self.metrics if name in names]
            found.append({one.name: one for one in read_series(run, chosen)})
        return found

    def best(self, metric: str) -> list[Point | None]:
        """Return each run's best point of a metric; None where it has none, or nobody knows which is best."""
        direction = better(metric)
        known = [one.get(metric) if direction else None for one in self.series]
        return [None if one is None else one.least if direction == "min" else one.most for one in known]

    def winner(self, metric: str) -> int | None:
        """Return which run has the best value, None where none has one or nobody knows which is best."""
        points = [(point.y, place) for place, point in enumerate(self.best(metric)) if point is not None]
        if not points:
            return None
        return min(points)[1] if better(metric) == "min" else max(points, key=lambda found: found[0])[1]

    def pictures(self, figsize: tuple[float, float] | None = None) -> list[Picture]:
        """Return ``comparison_<metric>`` for each metric, the parameters and the best values, not yet drawn."""
        from neural.tracking.figures.best import best_metrics
        from neural.tracking.figures.comparison import compare_metric
        from neural.tracking.figures.parameters import hyperparameters

        found = []
        for name in self.metrics:
            lines = [(label, one.get(name)) for label, one in zip(self.labels, self.series, strict=True)]
            draw = functools.partial(compare_metric, name, lines, figsize=figsize)
            found.append(Picture(f"comparison_{name}", draw))
        best = {name: self._bars(name) for name in self.metrics}
        draw = functools.partial(hyperparameters, self.parameters, self.labels, figsize=figsize)
        found.append(Picture(PARAMETERS, draw))
        found.append(Picture(BEST, functools.partial(best_metrics, best, self.labels, figsize=figsize)))
        return found

    def _bars(self, metric: str) -> list[float | None]:
        """Return each run's best value, its last where nobody knows which is best."""
        points = self.best(metric)
        if better(metric) is None:
            points = [one[metric].last if metric in one else None for one in self.series]
        return [None if point is None else point.y for point in points]

    def summary(self) -> dict[str, Any]:
        """Return what sets the runs apart, for scripts: ``comparison_summary.json``."""
        from neural.tracking.figures.parameters import table_rows

        rows = table_rows(self.parameters)
        return {
            "experiments": [_about(run) for run in self.runs],
            "metrics": {name: self._metric_summary(name) for name in self.metrics},
            "metrics_left_out": self.left_out,
            "hyperparameters_that_differ": [name for name, _, differs in rows if differs],
        }

    def _metric_summary(self, name: str) -> dict[str, Any]:
        winner = self.winner(name)
        values = {}
        for run, one in zip(self.runs, self.series, strict=True):
            if name in one:
                values[run.id] = _values(one[name])
        return {
            "better": BETTER_WORDS[better(name)],
            "best_experiment": None if winner is None else self.runs[winner].id,
            "experiments": values,
        }


def _about(run: Run) -> dict[str, Any]:
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
    for word, point in (("last", series.last), ("min", series.least), ("max", series.most)):
        found[word] = None if point is None else point.y
        found[f"{word}_step"] = None if point is None or not series.has_steps else int(point.x)
    return found
