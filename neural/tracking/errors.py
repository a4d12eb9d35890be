"""Every error this package raises.

TrackingError
├── ConfigError              a setting is missing, unknown or out of range
├── InvalidNameError         a run, metric, tag or artifact name that cannot be stored safely
├── PayloadTooLargeError     an event is too large, and was refused; the run continues without it
├── FormatError              bytes that do not follow the segment or event format
│   ├── DataDamagedError     stored data of a run is damaged, so that an answer would be incomplete
│   └── ProtocolError        a message that does not follow the wire protocol
├── RunConflictError         the folder of this run already belongs to another run
├── AmbiguousRunError        several folders hold the run, or have its id
├── SourceChangedError       a file changed while its snapshot was taken; nothing was recorded
├── ArtifactDamagedError     a stored artifact is not what was logged
├── CollectorUnreachableError  no collector answers on this state folder
├── StoreDiedError           the store died while it worked on one run
├── PortTakenError           another program listens on the page's port
├── QueryError               the page's filter is invalid
└── SinkError                raised by a sink, never seen by the training process
    ├── RetryLater           the same batch may succeed later
    │   ├── NotInstalledError    the backend's package is missing
    │   ├── StillUploadingError  an artifact is still being uploaded and may arrive
    │   ├── WriteAgain       events since the last flush are lost to the backend; they are delivered again
    │   └── HoldRun          the backend refuses one run for now; the sink continues with the others
    └── RefusedForGood       the same batch will fail every time; it becomes dead letters
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of an error text about an unknown word: the most similar known word, or all of them."""
    import difflib  # imported here, since most trackers never need it

    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


class TrackingError(Exception):
    """The base class of all errors of this package."""


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
    """Stored data of a run is damaged, so that an answer would be incomplete.

    ``folder`` is the run's folder. ``damages`` lists what is damaged, each with the name of its file. ``what``
    is the message without the advice.
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
    """Several folders have the given id; ``folders`` are their paths."""

    def __init__(self, experiment_id: str, folders: Iterable[object]) -> None:
        self.folders = [str(folder) for folder in folders]
        super().__init__(
            f"{len(self.folders)} folders have the id {experiment_id}: {', '.join(self.folders)}; "
            f"give `ntrack` the path of one of them, or move the others out of this folder"
        )


class SourceChangedError(TrackingError, OSError):
    """A file changed while its snapshot was taken, so nothing was recorded."""

    def __init__(self, path: str, before: str, after: str) -> None:
        super().__init__(
            f"{path} changed while it was read ({before}, then {after}), nothing was recorded; "
            f"log it once it is complete: write it under another name and rename it"
        )


class ArtifactDamagedError(TrackingError):
    """A stored artifact is not what was logged; ``expected`` and ``found`` are its SHA-256 digests."""

    def __init__(self, what: str, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"{what} is not what was logged: expected SHA-256 {expected}, found {found}")


class CollectorUnreachableError(TrackingError, ConnectionError):
    """No collector answers on this state folder."""


class StoreDiedError(TrackingError):
    """The store died while it worked on one run; replaces the error that a crashed process could not raise."""


class PortTakenError(TrackingError, OSError):
    """Another program listens on the port; ``next_free`` is a free port, None if none was found."""

    def __init__(self, host: str, port: int, next_free: int | None) -> None:
        self.port, self.next_free = port, next_free
        hint = f"take the next free one with --port {next_free}" if next_free else "choose another with --port"
        super().__init__(f"port {port} on {host} is taken, perhaps by a page that runs already; {hint}")


class QueryError(TrackingError, ValueError):
    """The page's filter is invalid; the message gives the position."""


class SinkError(TrackingError):
    """A sink could not take a batch."""


class RetryLater(SinkError):
    """The same batch may succeed later; ``after_s``: the suggested pause in seconds, None for no suggestion."""

    def __init__(self, reason: str, *, after_s: float | None = None) -> None:
        self.after_s = after_s
        super().__init__(reason)


class NotInstalledError(RetryLater):
    """The backend's package is missing; the message names the extra that installs it."""


class StillUploadingError(RetryLater):
    """An artifact is still being uploaded and may arrive."""


class WriteAgain(RetryLater):
    """The events since the last flush are lost to the backend; a new process delivers them again."""


class HoldRun(RetryLater):
    """The backend refuses the run ``uid`` for now: this run is held, the others are not."""

    def __init__(self, uid: str, reason: str, *, after_s: float = 600.0) -> None:
        self.uid = uid
        super().__init__(reason, after_s=after_s)


class RefusedForGood(SinkError):
    """The same batch will fail every time.

    ``refusals`` lists the refused events, as pairs of a ``RunEvent`` and its reason; the backend took all
    others. If it is empty, the refused events are not known, and each event is tried on its own.
    """

    def __init__(self, reason: str, refusals: Iterable[tuple[Any, str]] = ()) -> None:
        self.refusals = tuple(refusals)
        super().__init__(reason)
