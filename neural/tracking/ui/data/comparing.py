"""Compares runs: parameters that differ, best values of metrics, correlations of parameters and metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from neural.tracking.core.metric_direction import better
from neural.tracking.figures.names import most_informative_first, words_of
from neural.tracking.ui.data.catalogue import Row

MISSING = "—"
UNKNOWN_GOAL = "The metric's name does not say which way is better"
_HELD_OUT = frozenset(("val", "valid", "validation", "test", "eval"))


def goal_of(metric: str, setting: str = "auto") -> str | None:
    """Return ``min`` or ``max`` from the setting, else from the metric's name; None if that does not say."""
    return setting if setting in ("min", "max") else better(metric)


def metric_names(rows: Sequence[Row]) -> list[str]:
    """Return the names of all metrics of the runs, the most informative first."""
    names = {name for row in rows for name in row.metrics}
    ordered = most_informative_first(names)
    # Metrics on held-out data are more informative than the same metrics on training data.
    return sorted(ordered, key=lambda name: _HELD_OUT.isdisjoint(words_of(name)))


_GROUP = re.compile(r"[\w .@+-]{1,60}")


def grouped(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the metrics by group, the part of the name before the first slash; names without a group last.

    Only a plain word is a group: a slash in a tag or an address does not make one.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        head, slash, _ = name.partition("/")
        groups.setdefault(head if slash and _GROUP.fullmatch(head) else "", []).append(name)
    if "" in groups and len(groups) > 1:
        groups[""] = groups.pop("")
    return groups


def best(row: Row, metric: str, goal: str) -> tuple[float | None, int | None]:
    """Return the best value of a metric and its step; (None, None) if it has no value."""
    found = row.metrics.get(metric) or {}
    try:
        value = float(found[goal])
    except (KeyError, TypeError, ValueError):
        return None, None
    return (None, None) if math.isnan(value) else (value, found.get(f"{goal}_step"))


def parameters(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Return the names of the parameters that differ between the runs, and of the others; both sorted."""
    names = sorted({name for row in rows for name in row.params})
    differing: list[str] = []
    constant: list[str] = []
    for name in names:
        seen = {repr(row.params.get(name, MISSING)) for row in rows}
        (differing if len(seen) > 1 else constant).append(name)
    return differing, constant


def correlation(xs: Sequence[Any], ys: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation; None for fewer than three pairs of numbers, or if all are equal."""
    pairs = [
        (float(x), y)
        for x, y in zip(xs, ys, strict=True)
        if isinstance(x, int | float) and math.isfinite(x) and math.isfinite(y)
    ]
    if len(pairs) < 3:
        return None
    x, y = (_ranks([pair[side] for pair in pairs]) for side in (0, 1))
    if x.std() == 0 or y.std() == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def _ranks(values: Sequence[float]) -> Any:
    """Return the rank of each value; equal values share the mean of their ranks."""
    _, index, count = np.unique(np.array(values), return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return ((last - count + last + 1) / 2)[index]


def labels(rows: Sequence[Row]) -> list[str]:
    """Return a label for each run: its name, with its id if another run has the same name."""
    names = [row.name for row in rows]
    return [row.name if names.count(row.name) == 1 else f"{row.name} · {row.id}" for row in rows]
