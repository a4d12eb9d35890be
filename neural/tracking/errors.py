"""Every error this package raises.

TrackingError
├── ConfigError              a setting is missing, unknown or out of range
├── InvalidNameError         a run, metric, tag or artifact name that cannot be stored safely
├── PayloadTooLargeError     refused before it was queued; the run goes on without it
├── FormatError              bytes that do not follow the segment or event format
│   ├── DataDamagedError     what a run stored is damaged: what was asked for is not whole
│   └── ProtocolError        a message that does not follow the wire protocol
├── RunConflictError         the folder of this run already belongs to another run
├── AmbiguousRunError        several folders hold the run that is meant, or bear its id
├── SourceChangedError       a file changed while its snapshot was taken; nothing was recorded
├── ArtifactDamagedError     a stored artifact is not what was logged
├── CollectorUnreachableError  no collector answers on this state folder
├── StoreDiedError           the store died while it was at work on one run
├── PortTakenError           something else listens on the page's port
├── QueryError               the page's filter cannot be understood
└── SinkError                raised by a sink, never seen by the training process
    ├── RetryLater           the same batch may succeed later
    │   ├── NotInstalledError    the backend's package is missing
    │   ├── StillUploadingError  an artifact is on its way, and nothing says that it will not arrive
    │   ├── WriteAgain       what was written since the last flush is lost; it comes again
    │   └── HoldRun          the backend does not take one run; the sink goes on with the others
    └── RefusedForGood       the same batch will fail every time; it is set aside
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return how an error about an unknown word ends: with the nearest right one, else with all there are."""
    import difflib  # a tracker is made without it

    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


class TrackingError(Exception):
    """Base class: catch this to catch everything from this package."""


class ConfigError(TrackingError, ValueError):
    """A setting is missing, unknown or out of range."""


class InvalidNameError(TrackingError, ValueError):
    """A name cannot be stored safely under the rules of its kind."""

    def __init__(self, what: str, name: str, reason: str) -> None:
        self.name = name
        shown = name if len(name) <= 60 else name[:57] + "..."
        super().__init__(f"{what} {shown!r} {reason}")


class PayloadTooLargeError(TrackingError, ValueError):
    """The payload is larger than one event may be."""

    def __init__(self, what: str, size_bytes: int, limit_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes
        super().__init__(
            f"{what} is {size_bytes} bytes, over the limit of {limit_bytes} bytes an event; "
            f"log it in smaller parts"
        )


class FormatError(TrackingError, ValueError):
    """Bytes do not follow the format they should have."""


class DataDamagedError(FormatError):
    """Something of what a run stored is damaged, so that what was asked for cannot be given whole.

    ``folder`` is the run's; ``damages`` says what is wrong, each with the name of its file; ``what`` is the
    message without what to do.
    """

    def __init__(self, folder: Path, damages: Iterable[str]) -> None:
        self.folder, self.damages = folder, tuple(damages)
        more = f" and {len(self.damages) - 1} more" if len(self.damages) > 1 else ""
        self.what = f"run {folder.name} is damaged: {self.damages[0]}{more}"
        super().__init__(
            f"{self.what}; `ntrack verify` names all of it, "
            f"get_experiment(…, damaged='skip') reads what is left"
        )


class ProtocolError(FormatError):
    """A message does not follow the wire protocol."""


class RunConflictError(TrackingError):
    """The folder of this run already belongs to another run."""


class AmbiguousRunError(TrackingError, LookupError):
    """Several folders bear the id that was given; ``folders`` are their paths."""

    def __init__(self, experiment_id: str, folders: Iterable[object]) -> None:
        self.folders = [str(folder) for folder in folders]
        super().__init__(
            f"{len(self.folders)} folders bear the id {experiment_id}: {', '.join(self.folders)}; "
            f"`ntrack` takes the path of the one that is meant, or move the others out of this folder"
        )


class SourceChangedError(TrackingError, OSError):
    """A file changed while its snapshot was taken, so nothing of it was recorded."""

    def __init__(self, path: str, before: str, after: str) -> None:
        super().__init__(
            f"{path} changed while it was read ({before}, then {after}), nothing was recorded; "
            f"log it once it is written, best by writing it under another name and renaming it"
        )


class ArtifactDamagedError(TrackingError):
    """A stored artifact is not what was logged; ``expected`` and ``found`` are digests."""

    def __init__(self, what: str, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"{what} is not what was logged: expected SHA-256 {expected}, found {found}")


class CollectorUnreachableError(TrackingError, ConnectionError):
    """No collector answers on this state folder."""


class StoreDiedError(TrackingError):
    """The store died while it was at work on one run; stands in for what a crashed process could not raise."""


class PortTakenError(TrackingError, OSError):
    """Something else listens on the port; ``next_free`` is one to take, None where none was found."""

    def __init__(self, host: str, port: int, next_free: int | None) -> None:
        self.port, self.next_free = port, next_free
        hint = f"take the next free one with --port {next_free}" if next_free else "choose another with --port"
        super().__init__(f"port {port} on {host} is taken, perhaps by a page that runs already; {hint}")


class QueryError(TrackingError, ValueError):
    """The page's filter cannot be understood; the message says where."""


class SinkError(TrackingError):
    """A sink could not take a batch."""


class RetryLater(SinkError):
    """The same batch may succeed later."""

    def __init__(self, reason: str, *, after_s: float | None = None) -> None:
        self.after_s = after_s
        super().__init__(reason)


class NotInstalledError(RetryLater):
    """The backend's package is missing; the message says which extra brings it."""


class StillUploadingError(RetryLater):
    """An artifact is on its way, and nothing says that it will not arrive."""


class WriteAgain(RetryLater):
    """What was written since the last flush is lost to the backend: it comes again, to a new process."""


class HoldRun(RetryLater):
    """The backend does not take one run, ``uid``, as things are: it is held back, the other runs are not."""

    def __init__(self, uid: str, reason: str, *, after_s: float = 600.0) -> None:
        self.uid = uid
        super().__init__(reason, after_s=after_s)


class RefusedForGood(SinkError):
    """The same batch will fail every time.

    ``refusals`` says which of its events are meant, as pairs of a ``RunEvent`` and its reason: all others
    were taken. Without them, nobody can tell, and each is tried on its own.
    """

    def __init__(self, reason: str, refusals: Iterable[tuple[Any, str]] = ()) -> None:
        self.refusals = tuple(refusals)
        super().__init__(reason)
