"""What a tracker answers about its run: status, parameters, values, figures."""

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
    """The reading half of :class:`~neural.tracking.tracker.ExperimentTracker`."""

    _recorder: Recorder
    _view: RunView

    @property
    def status(self) -> str:
        """``created``, ``running`` once something was logged, then ``completed`` or ``failed``."""
        return self._view.status()

    @property
    def metadata(self) -> dict[str, Any]:
        """Where the run ran: command, folder, host, versions, git state; its tags, notes and group."""
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
        """The run's notes; assign a text to replace them."""
        return self._view.run().notes

    @notes.setter
    def notes(self, notes: str) -> None:
        self._recorder.emit("notes", {"notes": check_notes(notes) or ""})

    @property
    def group(self) -> str | None:
        """The group given when the run was opened."""
        return self._view.run().group

    @property
    def metrics_history(self) -> list[dict[str, Any]]:
        """One flat dict for each ``log_metrics`` call: ``timestamp``, ``step`` and the metrics.

        A metric that was itself named ``step`` or ``timestamp`` is in ``get_metrics("step")`` only.
        """
        return self._view.run().metrics_history()

    @property
    def summary(self) -> dict[str, Any]:
        """Each metric's last, least and greatest value, with status, times and parameters."""
        return self._view.run().summary()

    def get_metrics(
        self,
        metric_name: str | None = None,
        ranks: Ranks = "mean",
        *,
        name: str | None = None,
    ) -> list[Any]:
        """Return the whole history, or the values of one metric.

        Args:
            metric_name: None for the whole history, as ``metrics_history``; also spelt ``name``.
            ranks: where several ranks logged the metric: their ``mean``, ``min`` or ``max`` at each
                step in step order (of what a rank logged at a step the last counts), ``all`` values in
                the order logged, or one rank's by its number.

        Raises:
            DataDamagedError: something of the run is damaged, so that values may be missing.

        Blocks: until the store has what this process logged, at most 1 s; see ``docs/guarantees.md``.
        """
        chosen = name if metric_name is None else metric_name
        if chosen is None:
            return self._view.run().metrics_history()
        if not isinstance(chosen, str):
            raise TypeError(f"get_metrics takes one metric's name, not {type(chosen).__name__}: {chosen!r}")
        values: list[Any] = self._view.run().metric(chosen, ranks).value.tolist()
        return values

    def get_texts(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return what ``log_text`` was given, in the order logged.

        Args:
            name: only texts logged under it.

        Returns:
            One dict a text: ``timestamp``, ``step``, ``name``, ``text``, ``rank``.
        """
        from neural.tracking.core.times import iso_time

        return [
            {"timestamp": iso_time(text.pop("time_ns")), "step": text.pop("step"), **text}
            for text in self._view.run().texts(name)
        ]

    def get_best_metric(
        self, metric_name: str | None = None, mode: Literal["max", "min"] = "max", *, name: str | None = None
    ) -> tuple[float, int | None] | tuple[None, None]:
        """Return the best value of a metric and its first step, ``(None, None)`` where there is nothing.

        Several ranks count as their mean at each step. NaN never wins. ``name`` is ``metric_name``.
        Raises ``DataDamagedError`` as ``get_metrics``.
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

        ``metric_names`` is ``names``.

        Raises:
            KeyError: nothing was logged under a name that was asked for.
            TypeError, ValueError: a name is no text, or ``figsize`` is not two numbers of inches.
        """
        from neural.tracking.figures.style import check_figsize

        chosen = metric_names if names is None else names
        return self._view.figure(metric_names_of(chosen), check_figsize(figsize))

    def generate_visualizations(self) -> dict[str, Path]:
        """Draw the full set of pictures into the run's ``plots/``; return their paths by name.

        ``all_metrics_individual``, ``all_metrics_combined``, ``metric_correlation`` with two metrics or
        more, ``metric_distributions``; of more than 24 metrics, further pages end with ``_2`` and so on.
        In ``disabled`` mode nothing is drawn and the dict is empty.

        Raises:
            OSError: a picture cannot be written.

        Blocks: a second or two; reads as ``get_metrics`` does, and imports matplotlib.
        """
        return self._view.save_plots()

    def save_experiment_summary(self) -> Path:
        """Write ``summary.json`` and ``metrics.json`` as of now; return the path of the former.

        In ``disabled`` mode no file is made.
        """
        return self._view.save_summary()
