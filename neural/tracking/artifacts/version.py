"""A version of an artifact, for the training and for readers of the run."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from neural.tracking.errors import TrackingError

if TYPE_CHECKING:
    from neural.tracking.reader.artifact_outcomes import Outcome
    from neural.tracking.reader.artifacts import ArtifactCall

FIRST_POLL_S, LONGEST_POLL_S = 0.01, 0.2


class OutcomeSource(Protocol):
    """Finds the outcome of an artifact call; :class:`PendingArtifacts` implements it."""

    def outcome(self, token: str) -> Outcome | None:
        """Return the outcome of a call; None while it is unknown."""

    def max_wait_s(self) -> float:
        """Return how many seconds a read of a version may wait for the outcome."""

    @property
    def is_remote(self) -> bool:
        """Whether a collector on another host stores the artifact."""


class ArtifactVersion:
    """One artifact call and its outcome; ``log_artifact`` and reading a run return it.

    After the call the collector must still store the artifact. ``version``, ``checksum`` and ``path`` wait for
    that: up to 60 s if a collector answers, 20 s if it is on another host, else 0.2 to 5 s. They are None if it
    is not stored then, or if its bytes were lost (``lost`` is the reason). No property raises because of the
    collector's state.
    """

    def __init__(
        self,
        folder: Path,
        call: Mapping[str, Any],
        time_ns: int,
        *,
        entry: ArtifactCall | None = None,
        aliases: Sequence[str] = (),
        follow: OutcomeSource | None = None,
    ) -> None:
        self._folder, self._call, self._time_ns = folder, call, time_ns
        self._entry = entry
        self._aliases = list(aliases)
        self._follow = follow

    def __repr__(self) -> str:
        number = "not stored yet" if self._entry is None else f"v{self._entry.version}"
        return f"<ArtifactVersion {self.artifact_name!r} {self.lost or number}>"

    @property
    def artifact_name(self) -> str:
        """The name that the call gave it."""
        return str(self._call["name"])

    @property
    def version(self) -> int | None:
        """Its version number, counted from 1; None if not stored, or logged with ``version=False``. Waits."""
        entry = self._stored_entry()
        return None if entry is None else entry.version

    @property
    def checksum(self) -> str | None:
        """The SHA-256 of its bytes (of a folder: of its manifest), 64 hex digits; None if not stored. Waits."""
        entry = self._stored_entry()
        return None if entry is None else entry.checksum

    @property
    def path(self) -> Path | None:
        """Its path in the run folder, for reading only; None if not stored, or on another host. Waits."""
        entry = self._stored_entry()
        return None if entry is None or self._is_elsewhere(entry) else self._folder / entry.path

    @property
    def size(self) -> int:
        """Its size in bytes; of a folder, the total of its files. Never blocks."""
        return int(self._call["size"]) if self._entry is None else self._entry.size

    @property
    def timestamp(self) -> str:
        """The time of the call in UTC, in ISO 8601 format."""
        from neural.tracking.core.times import iso_time

        return str(iso_time(self._time_ns))

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata that the call gave."""
        return dict(self._call.get("metadata") or {})

    @property
    def aliases(self) -> list[str]:
        """Its aliases when this object was created."""
        return list(self._aliases)

    @property
    def taken(self) -> str:
        """How its snapshot was taken: ``reflink``, ``copy``, ``move``, ``in place``, ``rendered``."""
        return str(self._call["how"])

    @property
    def lost(self) -> str | None:
        """The reason why its bytes will never be stored; None if they are not known to be lost."""
        if self._entry is not None:
            return self._entry.lost
        lost = self._call.get("lost")
        return None if lost is None else str(lost)

    @property
    def token(self) -> str:
        """The random id of the call."""
        return str(self._call["token"])

    def wait(self, timeout: float = 60.0) -> bool:
        """Wait until it is stored durably; return whether it is.

        Blocks for ``timeout`` seconds at most; returns early if the artifact is lost.
        """
        deadline = time.monotonic() + timeout
        pause_s = FIRST_POLL_S
        while not self._poll():
            left = deadline - time.monotonic()
            if left <= 0 or self.lost is not None:
                break
            time.sleep(min(pause_s, left))
            pause_s = min(LONGEST_POLL_S, pause_s * 1.5)
        return self._entry is not None and self._entry.stored

    def verify(self) -> bool:
        """Return True if its bytes are those that were logged. Blocks: waits for it, and reads all bytes.

        Raises:
            ArtifactDamagedError: they differ; the error has both digests.
            TrackingError: it is not stored, or a collector on another host stores it.
            OSError: it cannot be read.
        """
        from neural.tracking.artifacts.check import Checker

        Checker().check(self._folder, self._stored())
        return True

    def copy_to(self, path: str | Path, *, force: bool = False) -> Path:
        """Copy it to ``path`` as ``cp -r`` does, or into it if that is a folder; return the path of the copy.

        Blocks until the copy is complete and checked.

        Args:
            path: ``~`` is the home folder; the folder above must exist.
            force: whether an existing folder is replaced. An existing file is replaced in any case.

        Raises:
            ArtifactDamagedError: its bytes are not those that were logged; then ``path`` is unchanged.
            TrackingError: as for ``verify``; or it is a reference, whose content is not stored.
            FileExistsError: a folder would replace something, or a file a folder.
            OSError: it cannot be written there.
        """
        from neural.tracking.artifacts.check import copy_out

        return copy_out(self._folder, self._stored(), path, force=force)

    def to_dict(self) -> dict[str, Any]:
        """Return it in the form of ``artifacts.json``; ``version`` is None if it is not stored. Waits."""
        entry = self._stored_entry()
        if entry is not None:
            from neural.tracking.reader.artifact_views import call_view

            return call_view(entry, {entry.version or 0: self._aliases})
        fields = {"artifact_name": self.artifact_name, "version": None, "path": None, "checksum": None}
        return {**fields, "size": self.size, "timestamp": self.timestamp, "metadata": self.metadata}

    def _stored_entry(self) -> ArtifactCall | None:
        """Return the stored call after waiting as long as is worthwhile; None if it is not stored."""
        if self._entry is None and self.lost is None:
            self.wait(0.0 if self._follow is None else self._follow.max_wait_s())
        return self._entry if self._entry is not None and self._entry.lost is None else None

    def _stored(self) -> ArtifactCall:
        entry = self._stored_entry()
        if entry is None:
            why = self.lost or "the collector has not stored it yet"
            raise TrackingError(f"{self.artifact_name} is not stored: {why}")
        if self._is_elsewhere(entry):
            run, name = self._folder.name, self.artifact_name
            raise TrackingError(
                f"a collector on another host stores {name}, and its disk is not visible here; "
                f"run there: `ntrack artifacts get {run.rpartition('_')[2]} {name} v{entry.version}`"
            )
        return entry

    def _is_elsewhere(self, entry: ArtifactCall) -> bool:
        remote = self._follow is not None and self._follow.is_remote
        return remote and not os.path.lexists(self._folder / entry.path)

    def _poll(self) -> bool:
        """Read the outcome, if it is there now; return whether the outcome is known."""
        if self._entry is None and self._follow is not None:
            found = self._follow.outcome(self.token)
            if found is not None:
                from neural.tracking.reader.artifacts import ArtifactCall

                self._entry = ArtifactCall(found.session, found.seq, self._time_ns, 0, self._call, found.note)
        return self._entry is not None
