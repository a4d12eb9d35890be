"""Calls the sink's code with a deadline, and lets only two kinds of errors pass.

These are RetryLater and RefusedForGood. A call that does not return is ended together with the process, by
a watchdog thread in C. The watchdog needs no interpreter lock, and writes the stack of every thread into the
collector's log. Any other exception ends the process too: nobody knows in which state it left the backend's
package. The supervisor then starts a new process, which learns from
:mod:`~neural.tracking.collector.delivery.attempts` which events to suspect.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import logging
import traceback
from collections.abc import Callable, Iterator, Sequence

from neural.tracking.collector.delivery.attempts import Attempts
from neural.tracking.errors import ConfigError, HoldRun, NotInstalledError, RefusedForGood, RetryLater
from neural.tracking.sink_state.config import SinkConfig
from neural.tracking.sinks.base import RunEvent, Sink, SinkPlace
from neural.tracking.sinks.registry import make_sink
from neural.tracking.state.paths import State

logger = logging.getLogger(__name__)

MISSING_RETRY_S = 15.0
MISCONFIGURED_RETRY_S = 60.0
OPEN_FACTOR = 5.0


class SinkGuard:
    """Holds the sink. It opens the sink at the first event, so an unused backend is never imported."""

    def __init__(self, config: SinkConfig, state: State, attempts: Attempts) -> None:
        self._config = config
        self._state = state
        self._attempts = attempts
        self._sink: Sink | None = None

    @property
    def batch_events(self) -> int:
        """How many events one write may bring; opens the sink, and raises as :meth:`sink`."""
        return self.sink().batch_events

    @property
    def flush_every_s(self) -> float:
        """How often the sink is flushed while it is written to."""
        return 1.0 if self._sink is None else self._sink.flush_every_s

    def sink(self) -> Sink:
        """Return the sink, opened.

        Raises:
            RetryLater: it cannot be made or opened now.
        """
        if self._sink is not None:
            return self._sink
        importlib.invalidate_caches()  # the package may have been installed since the last try
        place = self._place()
        try:
            sink = make_sink(self._config, place)
        except ConfigError as error:
            raise RetryLater(str(error), after_s=MISCONFIGURED_RETRY_S) from error
        try:
            # The sink imports the backend's package first. On a busy machine that alone takes a minute.
            self._call(sink.open, OPEN_FACTOR)
        except (ModuleNotFoundError, ImportError) as error:
            raise NotInstalledError(self._missing(error), after_s=MISSING_RETRY_S) from error
        self._sink = sink
        return sink

    def write(self, events: Sequence[RunEvent]) -> None:
        """Write the events; raises RetryLater or RefusedForGood, and ends the process for anything else."""
        self._call(lambda: self.sink().write(events))

    def flush(self) -> None:
        """Flush the sink if it was opened; raises RetryLater, or RefusedForGood that names events."""
        if self._sink is not None:
            try:
                self._call(self._sink.flush)
            except HoldRun as error:
                # This breaks the contract: the run's events have left the queue already. All runs now wait for
                # the flush, so the pause must not be as long as the one that the error asks for.
                raise RetryLater(f"the flush would hold a run back, which only a write may: {error}") from error
            except RefusedForGood as error:
                if error.refusals:
                    raise
                # This breaks the contract: nobody can tell which event is meant.
                raise RetryLater(f"the flush was refused: {error}") from error

    def close(self) -> None:
        """Close the sink; an exception of its package is logged."""
        if self._sink is not None:
            try:
                with _deadline(self._config.call_timeout_s):
                    self._sink.close()
            except Exception:  # a sink that cannot close must not keep the worker from leaving
                logger.exception("%s failed to close", self._config.name)
            self._sink = None

    def _call(self, action: Callable[[], None], factor: float = 1.0) -> None:
        try:
            with _deadline(factor * self._config.call_timeout_s):
                action()
        except (RetryLater, RefusedForGood, ModuleNotFoundError, ImportError):
            raise
        except Exception as error:  # the module's docstring says why the process ends
            self._attempts.failed(traceback.format_exc(limit=-8))
            raise SystemExit(f"sink {self._config.name} raised {error!r}") from error

    def _place(self) -> SinkPlace:
        try:
            writer = self._state.collector_id()
        except OSError as error:
            raise RetryLater(f"cannot read {self._state.root}: {error}") from error
        return SinkPlace(self._config.name, self._state.base_dir, writer, self._config.call_timeout_s)

    def _missing(self, error: ImportError) -> str:
        extra = self._config.type
        return f"cannot be imported ({error}); install it: pip install 'neural-tracking[{extra}]'"


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
