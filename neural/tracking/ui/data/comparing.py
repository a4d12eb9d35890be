"""Comparing runs: which parameters differ, which value of a metric is best, what goes along with it."""

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
UNKNOWN_GOAL = "The metric's name does not tell which way is better"
_KEPT_APART = frozenset(("val", "valid", "validation", "test", "eval"))


def goal_of(metric: str, told: str = "auto") -> str | None:
    """Return ``min`` or ``max``: as told, else as the metric's name tells; None where it does not."""
    return told if told in ("min", "max") else better(metric)


def metric_names(rows: Sequence[Row]) -> list[str]:
    """Return the metrics of the runs: those most worth a glance first."""
    names = {name for row in rows for name in row.metrics}
    ordered = most_informative_first(names)
    # What was measured on data kept apart says more of a run than the same on its training data.
    return sorted(ordered, key=lambda name: _KEPT_APART.isdisjoint(words_of(name)))


_GROUP = re.compile(r"[\w .@+-]{1,60}")


def grouped(names: Sequence[str]) -> dict[str, list[str]]:
    """Return metrics by what stands before the first slash, the most telling group first, plain names last.

    Only what reads as the name of a group is one: a slash inside a tag or an address groups nothing.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        head, slash, _ = name.partition("/")
        groups.setdefault(head if slash and _GROUP.fullmatch(head) else "", []).append(name)
    if "" in groups and len(groups) > 1:
        groups[""] = groups.pop("")
    return groups


def best(row: Row, metric: str, goal: str) -> tuple[float | None, int | None]:
    """Return the best value of a metric and its step; (None, None) where there is none."""
    found = row.metrics.get(metric) or {}
    try:
        value = float(found[goal])
    except (KeyError, TypeError, ValueError):
        return None, None
    return (None, None) if math.isnan(value) else (value, found.get(f"{goal}_step"))


def parameters(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Return the names of parameters that differ among the runs, and of those that do not; each sorted."""
    names = sorted({name for row in rows for name in row.params})
    differing: list[str] = []
    constant: list[str] = []
    for name in names:
        seen = {repr(row.params.get(name, MISSING)) for row in rows}
        (differing if len(seen) > 1 else constant).append(name)
    return differing, constant


def correlation(xs: Sequence[Any], ys: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation; None where it says nothing: too few, no numbers, all the same."""
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
    """Return each value's place among all, equal ones sharing the middle of theirs."""
    _, index, count = np.unique(np.array(values), return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return ((last - count + last + 1) / 2)[index]


def labels(rows: Sequence[Row]) -> list[str]:
    """Return what tells the runs apart: their names, with their ids where names are the same."""
    names = [row.name for row in rows]
    return [row.name if names.count(row.name) == 1 else f"{row.name} · {row.id}" for row in rows]
