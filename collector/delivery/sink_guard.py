"""The border to a sink's code: every call has a deadline, and nothing but two outcomes comes back.

A call that does not return is ended with the whole process by a watchdog thread in C, which needs no
interpreter lock and leaves the stack of every thread in the collector's log. An exception that is none
of the two ends the process too: what state it left the backend's package in, nobody knows. The
supervisor starts a new one, which learns from :mod:`~neural.tracking.collector.delivery.attempts`.
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

logger = logging.getLogger(__name__)

MISSING_RETRY_S = 15.0
MISCONFIGURED_RETRY_S = 60.0
OPEN_FACTOR = 5.0


class SinkGuard:
    """Holds the sink, opened at its first event: a backend nobody delivers to is never imported."""

    def __init__(self, config: SinkConfig, place: SinkPlace, trying: Attempts) -> None:
        self._config = config
        self._place = place
        self._trying = trying
        self._sink: Sink | None = None

    @property
    def batch_events(self) -> int:
        """How many events one write may bring; needs the sink."""
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
        importlib.invalidate_caches()  # it may have been installed since
        try:
            sink = make_sink(self._config, self._place)
        except ConfigError as error:
            raise RetryLater(str(error), after_s=MISCONFIGURED_RETRY_S) from error
        try:
            # Its imports come first, and on a busy machine they alone take a minute.
            self._call(sink.open, OPEN_FACTOR)
        except (ModuleNotFoundError, ImportError) as error:
            raise NotInstalledError(self._missing(error), after_s=MISSING_RETRY_S) from error
        self._sink = sink
        return sink

    def write(self, events: Sequence[RunEvent]) -> None:
        """Write the events; raises RetryLater or RefusedForGood, ends the process for anything else."""
        self._call(lambda: self.sink().write(events))

    def flush(self) -> None:
        """Flush, if there is anything to; raises RetryLater, or RefusedForGood that names events."""
        if self._sink is not None:
            try:
                self._call(self._sink.flush)
            except HoldRun as error:
                # Against the contract: what was written of the run is not pending any more. All runs wait for
                # it now, so not for as long as it would.
                raise RetryLater(f"the flush would hold a run back, which only a write may: {error}") from error
            except RefusedForGood as error:
                if error.refusals:
                    raise
                # Against the contract: which event it means, nobody can tell.
                raise RetryLater(f"the flush was refused: {error}") from error

    def close(self) -> None:
        """Let go of the sink; whatever its package thinks of that."""
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
        except Exception as error:  # the border around a sink: see above
            self._trying.failed(traceback.format_exc(limit=-8))
            raise SystemExit(f"sink {self._config.name} raised {error!r}") from error

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
