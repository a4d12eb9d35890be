"""The contract of a sink: what a backend's translator is given, and the ways in which it may fail.

A sink runs in a worker process of its own and is called by one thread. The worker owns order, batching,
retry, deadlines, dead letters and how far it came; a sink only translates and writes. Other people's
sinks are classes that follow :class:`Sink`, named by an entry point in the group
``neural_tracking.sinks``; :mod:`neural.tracking.sinks.contract` is the test suite they pass.
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
    """A run as a sink sees it; the same object comes with each of its events.

    ``memory`` belongs to the sink: plain JSON, kept durably in one piece with how far the run was
    delivered, once ``flush`` returned. After a crash it comes back as it was then, followed by the
    events since. ``link`` is for people: where the backend shows the run. ``env`` is what the training's
    environment said of its backends, without secrets; of a training on another host only what the sink's
    ``guests_may_set`` names. An address in it is nobody's but the run's: the collector's own credentials
    are not for it.
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
        """The ``experiment_id``."""
        return self.uid[:8]

    @property
    def label(self) -> str:
        """``<name>_<id>``: the name of its folder."""
        return f"{self.name}_{self.id}"


class RunEvent(NamedTuple):
    """One event of a run, of any kind; a sink leaves alone the kinds it has no use for.

    ``kind`` and ``data``: ``metrics`` (name to float: one call), ``params`` (``values``, nested, to be
    merged with those before; ``as_text``; ``part``: which of how many events of one call, where one could
    not hold them), ``text`` (``name``, ``text``), ``open`` (``tags``, ``notes``, ``group``, ``settings``),
    ``tags`` (``add``), ``notes`` (``notes``), ``metadata`` (``values``), ``end`` of a session, ``status``
    of the whole run (``status``, ``error``, ``ended``: whether all its processes have ended), and
    ``artifact``, once its bytes are stored (``name``, ``version``, ``path`` of the file or folder,
    ``checksum``, ``size``, ``type``: ``artifact``, ``model``, ``figure``, ``reference``; ``aliases``,
    ``metadata``, ``uri``). Numbered within its session; ``status`` has number 0 and may come again.
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
    """What a sink is told of where it works.

    ``writer`` tells this collector's files from another's. A call that lasts longer than ``call_timeout_s``
    is ended with the process: whoever waits for a backend raises RetryLater well before.
    """

    name: str
    base_dir: Path
    writer: str
    call_timeout_s: float = 120.0


class Option(NamedTuple):
    """A setting of a type of sink: its kind, its default, one line of help; secrets are never options.

    ``choices``: all the values it may have, where these can be listed.
    """

    kind: type
    default: Any
    help: str
    choices: tuple[str, ...] = ()


class Sink(Protocol):
    """Calls arrive in this order: ``open``, then ``write`` and ``flush`` many times, ``close``.

    The constructor takes a :class:`SinkPlace` and the options by keyword, and only stores them: all
    that blocks, and every import of the backend's own package, begins in ``open``.
    """

    type: ClassVar[str]
    options: ClassVar[Mapping[str, Option]]
    delivery: ClassVar[Literal["exactly once", "at least once"]]
    batch_events: ClassVar[int]  # at most so many come in one write
    flush_every_s: ClassVar[float]  # while it is written to; 1 unless a flush is dear

    def open(self) -> None:
        """Connect. Must be safe to call again after a failed call.

        Raises:
            ModuleNotFoundError: the backend's package is not installed.
            RetryLater: it cannot be reached now.
        """

    def write(self, events: Sequence[RunEvent]) -> None:
        """Hand all events to the backend, or raise; the same events then come again.

        After a crash those since the last ``flush`` come again, with the same numbers. ``exactly once``
        promises that the backend is then as if they came once; ``at least once`` that nothing is lost.

        Raises:
            RetryLater: every trouble of the world: full disk, dead server, timeout, bad credentials.
            RefusedForGood: only what the events themselves cause; they go to the dead letters. Where it
                does not say which of several are meant, each is then written on its own.
            HoldRun: the backend does not take one run, say because it was deleted there. Its events wait
                and come again in a while; all others of the batch come again at once.
            WriteAgain: as from ``flush``.
        """

    def flush(self) -> None:
        """Return once all that was written since the last one is durable in the backend.

        Raises:
            RetryLater: it is not yet, and nothing of it is lost: the flush is called again.
            RefusedForGood: the events it names were turned down after all; everything else is durable.
            WriteAgain: some of it is lost. The process ends, no event is blamed for that, and a new one is
                given again what came since the last flush that returned.
        """

    def close(self) -> None:
        """Let go. Called once, also when ``open`` never succeeded."""


@runtime_checkable
class Readable(Protocol):
    """A sink that can say what its backend holds: for ``ntrack sinks test`` and the contract tests."""

    def points(self, run: RunInfo) -> Iterable[tuple[str, int, float]] | None:
        """Return (metric, step, value) of all the backend holds of a run; None where it cannot be asked."""
