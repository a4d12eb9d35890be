"""The contract of a sink: what it receives, and which errors it may raise.

A sink runs in a worker process of its own; one thread calls it. The worker owns order, batches, retries,
deadlines, dead letters and progress. A sink only translates and writes. A third-party sink is a class that
follows :class:`Sink`; an entry point in the group ``neural_tracking.sinks`` names it. It must pass the tests
of :mod:`neural.tracking.sinks.contract`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from neural.tracking.errors import HoldRun, RefusedForGood, RetryLater, WriteAgain

__all__ = [
    "HoldRun",
    "Option",
    "Readable",
    "RefusedForGood",
    "RetryLater",
    "RunEvent",
    "RunInfo",
    "Sink",
    "SinkPlace",
    "WriteAgain",
]


@dataclass(eq=False)
class RunInfo:
    """A run as a sink sees it; all events of a run share one object.

    ``memory`` belongs to the sink: plain JSON. After each ``flush`` the worker saves it in one file with the
    run's progress. After a crash the sink receives it as it was saved, and the events since then again.
    ``link`` is for people: the address of the run in the backend. ``env`` holds the variables for backends
    from the training's environment, without secrets; for a training on another host, only those that the
    sink's ``guests_may_set`` lists. The sink must not send the collector's own credentials to an address that
    only ``env`` names.
    """

    uid: str
    name: str
    folder: Path
    opened_ns: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    link: str | None = None

    @property
    def id(self) -> str:
        """The ``experiment_id``: the first 8 hex digits of ``uid``."""
        return self.uid[:8]

    @property
    def label(self) -> str:
        """The name of the run folder, ``<name>_<id>``."""
        return f"{self.name}_{self.id}"


class RunEvent(NamedTuple):
    """One event of a run, of any kind; a sink ignores the kinds that it does not use.

    ``kind`` and ``data``: ``metrics`` (name to float, of one call), ``params`` (``values``, nested, to be
    merged with earlier ones; ``as_text``; ``part``: number and count of the events of one call, if it needs
    several), ``text`` (``name``, ``text``), ``open`` (``tags``, ``notes``, ``group``, ``settings``),
    ``tags`` (``add``), ``notes`` (``notes``), ``metadata`` (``values``), ``end`` of a session, ``status``
    of the whole run (``status``, ``error``, ``ended``: whether all its processes have ended), and
    ``artifact``, once its bytes are stored (``name``, ``version``, ``path`` of the file or folder,
    ``checksum``, ``size``, ``type``: ``artifact``, ``model``, ``figure``, ``reference``; ``aliases``,
    ``metadata``, ``uri``). ``seq`` counts within the session; a ``status`` has number 0 and may be repeated.
    """

    run: RunInfo
    session: str
    rank: int
    seq: int
    time_ns: int
    step: int | None
    kind: str
    data: Mapping[str, Any]


class SinkPlace(NamedTuple):
    """The collector that a sink works for: the sink's name there, the folder of runs, the deadline.

    ``writer`` distinguishes this collector's files from another's. A call that lasts longer than
    ``call_timeout_s`` ends the process: a sink that waits for a backend must raise RetryLater well before.
    """

    name: str
    base_dir: Path
    writer: str
    call_timeout_s: float = 120.0


class Option(NamedTuple):
    """A setting of a type of sink: its kind, its default, one line of help. A secret is never an option.

    ``choices`` lists all values that it may have; empty if they cannot be listed.
    """

    kind: type
    default: Any
    help: str
    choices: tuple[str, ...] = ()


class Sink(Protocol):
    """A sink. The worker calls ``open``, then ``write`` and ``flush`` many times, then ``close``.

    The constructor takes a :class:`SinkPlace` and the options by keyword, and only stores them. Only ``open``
    and the later calls may block or import the backend's package.
    """

    type: ClassVar[str]
    options: ClassVar[Mapping[str, Option]]
    delivery: ClassVar[Literal["exactly once", "at least once"]]
    batch_events: ClassVar[int]  # the maximum number of events of one write
    flush_every_s: ClassVar[float]  # while events arrive; 1 unless a flush is expensive

    def open(self) -> None:
        """Connect to the backend. A second call, after a failed one, must be safe.

        Raises:
            ModuleNotFoundError: the backend's package is not installed.
            RetryLater: the backend cannot be reached now.
        """

    def write(self, events: Sequence[RunEvent]) -> None:
        """Hand all events to the backend, or raise; the worker then writes the same events again.

        After a crash the worker writes the events since the last ``flush`` again, with the same numbers.
        ``exactly once`` promises that the backend then counts each once; ``at least once`` that none is lost.

        Raises:
            RetryLater: every failure of the environment: full disk, dead server, timeout, bad credentials.
            RefusedForGood: only what the events themselves cause; they become dead letters. If the error does
                not name the refused ones of several events, each is then written on its own.
            HoldRun: the backend does not accept one run, for example because it was deleted there. The run's
                events wait for a while and are written again; the others of the batch are, at once.
            WriteAgain: as from ``flush``.
        """

    def flush(self) -> None:
        """Return once everything that was written since the last flush is durable in the backend.

        Raises:
            RetryLater: it is not durable yet, and nothing is lost: the worker calls ``flush`` again.
            RefusedForGood: the backend refused the events that the error names; all others are durable.
            WriteAgain: some of it is lost. The process ends, and no event is suspected. A new process writes
                again what was written since the last flush that returned.
        """

    def close(self) -> None:
        """Release everything. Called at most once; must be safe even if ``open`` never succeeded."""


@runtime_checkable
class Readable(Protocol):
    """A sink that can read its backend: for ``ntrack sinks test`` and the contract tests."""

    def points(self, run: RunInfo) -> Iterable[tuple[str, int, float]] | None:
        """Return (metric, step, value) of all points of a run in the backend; None if it cannot be read."""
