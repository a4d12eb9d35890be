"""Known data for figures."""

from __future__ import annotations

import numpy as np

from neural.tracking.figures.series import series_of_history
from neural.tracking.reader.columns import Columns


def history(**metrics):
    """Return a history in which each metric has its values at steps 0, 1, 2 …"""
    longest = max((len(values) for values in metrics.values()), default=0)
    return [
        {"step": step, "timestamp": "t", **{n: v[step] for n, v in metrics.items() if step < len(v)}}
        for step in range(longest)
    ]


def series(**metrics):
    """Return the reduced series of the metrics, in the given order."""
    return series_of_history(history(**metrics))


def ranked(name, values, *, late_s=None, missing=None):
    """Return columns of several ranks. ``values``: a row for each rank; ``late_s``: each rank's delay."""
    values = np.asarray(values, float)
    ranks, steps = values.shape
    step, rank = np.repeat(np.arange(steps), ranks), np.tile(np.arange(ranks), steps)
    late = np.asarray(late_s if late_s is not None else np.zeros(ranks))
    time_ns = ((step + late[rank]) * 1e9).astype(np.int64)
    keep = np.ones(len(step), bool) if missing is None else ~((rank == missing[0]) & (step >= missing[1]))
    columns = (step, values.T.ravel(), time_ns, rank.astype(np.int32), rank.astype(np.int32), step + 1)
    return Columns(name, *(column[keep] for column in columns), tuple(map(str, range(ranks))))


def texts(figure):
    """Return every text of a drawn figure."""
    figure.canvas.draw()
    found = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return [text for text in found if text]
