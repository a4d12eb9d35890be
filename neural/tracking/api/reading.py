"""The reading methods of a tracker: status, parameters, values, figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from neural.tracking.api.options import check_notes
from neural.tracking.core.names import metric_names_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neural.tracking.api.recorder import Recorder
    from neural.tracking.api.run_view import RunView

Ranks = Literal["mean", "all", "min", "max"] | int


class ReadingMethods:
    """The reading half of :class:`~neural.tracking.tracker.ExperimentTracker`.

    Every read waits until the store has what this process logged, 1 s at most; see ``docs/guarantees.md``. Then
    it reads the run folder. It raises DataDamagedError if stored data that it needs is damaged, unless the
    tracker was opened with ``damaged="skip"``.
    """

    _recorder: Recorder
    _view: RunView

    @property
    def status(self) -> str:
        """``created``, ``running`` once something was logged, then ``completed`` or ``failed``.

        While this process logs, it does not read the disk.
        """
        return self._view.status()

    @property
    def metadata(self) -> dict[str, Any]:
        """The run's environment (command, folder, host, versions, git state), tags, notes and group."""
        return self._view.run().metadata

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """All parameters logged so far, by any rank, as one nested dict."""
        return self._view.run().params

    @property
    def tags(self) -> list[str]:
        """The run's tags, in the order they were added."""
        return self._view.run().tags

    @property
    def notes(self) -> str | None:
        """The run's notes, None without any; assign a text of at most 64 KiB to replace them.

        Assignment raises TypeError for another type, ConfigError over 64 KiB, TrackingError after ``finish()``.
        """
        return self._view.run().notes

    @notes.setter
    def notes(self, notes: str) -> None:
        self._recorder.emit("notes", {"notes": check_notes(notes) or ""})

    @property
    def group(self) -> str | None:
        """The group that was given when the run was opened, None without one."""
        return self._view.run().group

    @property
    def metrics_history(self) -> list[dict[str, Any]]:
        """One flat dict for each ``log_metrics`` call: ``timestamp``, ``step`` and the metrics.

        A metric with the name ``step`` or ``timestamp`` is not in it; ``get_metrics("step")`` returns it.
        """
        return self._view.run().metrics_history()

    @property
    def summary(self) -> dict[str, Any]:
        """Each metric's last, minimum and maximum value, with status, times and parameters."""
        return self._view.run().summary()

    def get_metrics(
        self,
        metric_name: str | None = None,
        ranks: Ranks = "mean",
        *,
        name: str | None = None,
    ) -> list[Any]:
        """Return the whole history, or the values of one metric; an empty list for an unknown metric.

        Args:
            metric_name: None for the whole history, as ``metrics_history``; ``name`` is another name of it.
            ranks: the choice if several ranks logged the metric: their ``mean``, ``min`` or ``max`` at each
                step, in step order (the last value of a rank at a step counts); ``all`` values in the order
                logged; or a rank's number for the values of this rank.

        Raises:
            DataDamagedError: stored data of the run is damaged, so that values may be missing.
            TypeError: ``metric_name`` is not text.
            ValueError: ``ranks`` is none of these.

        Blocks: until the store has what this process logged, 1 s at most; see ``docs/guarantees.md``.
        """
        chosen = name if metric_name is None else metric_name
        if chosen is None:
            return self._view.run().metrics_history()
        if not isinstance(chosen, str):
            raise TypeError(f"get_metrics takes one metric's name, not {type(chosen).__name__}: {chosen!r}")
        values: list[Any] = self._view.run().metric(chosen, ranks).value.tolist()
        return values

    def get_texts(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the texts of ``log_text``, in the order logged; an empty list if there are none.

        Args:
            name: return only texts with this name.

        Returns:
            One dict a text: ``timestamp``, ``step`` (None without one), ``name``, ``text``, ``rank``.
        """
        from neural.tracking.core.times import iso_time

        return [
            {"timestamp": iso_time(text.pop("time_ns")), "step": text.pop("step"), **text}
            for text in self._view.run().texts(name)
        ]

    def get_best_metric(
        self, metric_name: str | None = None, mode: Literal["max", "min"] = "max", *, name: str | None = None
    ) -> tuple[float, int | None] | tuple[None, None]:
        """Return the best value of a metric and its first step; ``(None, None)`` if there is no value.

        For several ranks it uses their mean at each step. NaN is ignored. ``name`` is another name of
        ``metric_name``. Blocks and raises DataDamagedError as ``get_metrics``.

        Raises:
            TypeError: no name was given.
            ValueError: ``mode`` is neither ``max`` nor ``min``.
        """
        chosen = name if metric_name is None else metric_name
        if chosen is None:
            raise TypeError("get_best_metric() needs the metric's name")
        return self._view.run().best_metric(chosen, mode)

    def plot_metrics(
        self,
        names: str | Sequence[str] | None = None,
        figsize: tuple[float, float] | None = None,
        *,
        metric_names: str | Sequence[str] | None = None,
    ) -> Figure:
        """Return a matplotlib figure of some metrics, or of all; train and validation share a panel.

        Without ``names``, and with more than 48 metrics, it shows the 48 most important ones.
        ``metric_names`` is another name of ``names``. Blocks as ``get_metrics``, and imports matplotlib.

        Raises:
            KeyError: nothing was logged under one of ``names``.
            TypeError, ValueError: a name is not text, or ``figsize`` is not two numbers of inches.
        """
        from neural.tracking.figures.style import check_figsize

        chosen = metric_names if names is None else names
        return self._view.figure(metric_names_of(chosen), check_figsize(figsize))

    def generate_visualizations(self) -> dict[str, Path]:
        """Draw all plots into the run's ``plots/``; return their paths by name.

        The names are ``all_metrics_individual``, ``all_metrics_combined``, ``metric_correlation`` (with two or
        more metrics) and ``metric_distributions``; with more than 24 metrics, further pages end with ``_2`` and
        so on. In ``disabled`` mode it draws nothing and returns an empty dict.

        Raises:
            OSError: a plot cannot be written.

        Blocks: a second or two; it reads as ``get_metrics`` does, and imports matplotlib.
        """
        return self._view.save_plots()

    def save_experiment_summary(self) -> Path:
        """Write ``summary.json`` and ``metrics.json`` as of now; return the path of ``summary.json``.

        In ``disabled`` mode it creates no file. Blocks on the disk, and as ``get_metrics``.

        Raises:
            OSError: a file cannot be written.
        """
        return self._view.save_summary()
