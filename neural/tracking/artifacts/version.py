"""A version of an artifact, as the training and whoever reads the run later see it."""

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

FIRST_LOOK_S, LAST_LOOK_S = 0.01, 0.2


class Following(Protocol):
    """Who knows what becomes of a call, how long there is hope for it, and whether another host stores it."""

    def outcome(self, token: str) -> Outcome | None: ...

    def patience_s(self) -> float: ...

    @property
    def is_far(self) -> bool: ...


class ArtifactVersion:
    """One artifact call and what came of it; made by ``log_artifact`` and by reading a run.

    Right after the call the collector has still to store it: ``version``, ``checksum`` and ``path`` wait for
    that, and are None where it does not come about: no collector answers, or the bytes were lost (then
    ``lost`` says why). Nothing here raises for the state of the collector.
    """

    def __init__(
        self,
        folder: Path,
        call: Mapping[str, Any],
        time_ns: int,
        *,
        entry: ArtifactCall | None = None,
        aliases: Sequence[str] = (),
        follow: Following | None = None,
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
        """The name it was logged under."""
        return str(self._call["name"])

    @property
    def version(self) -> int | None:
        """Its number, counted from 1; None also for what was logged with ``version=False``."""
        entry = self._settled()
        return None if entry is None else entry.version

    @property
    def checksum(self) -> str | None:
        """The SHA-256 of its bytes, 64 hex digits; of a folder, of its manifest."""
        entry = self._settled()
        return None if entry is None else entry.checksum

    @property
    def path(self) -> Path | None:
        """Where it lies in the run folder, only to be read; None where that is on another host."""
        entry = self._settled()
        return None if entry is None or self._is_elsewhere(entry) else self._folder / entry.path

    @property
    def size(self) -> int:
        """Bytes, of all files of a folder together."""
        return int(self._call["size"]) if self._entry is None else self._entry.size

    @property
    def timestamp(self) -> str:
        """When it was logged, ISO 8601, UTC."""
        from neural.tracking.core.times import iso_time

        return str(iso_time(self._time_ns))

    @property
    def metadata(self) -> dict[str, Any]:
        """What was given with it."""
        return dict(self._call.get("metadata") or {})

    @property
    def aliases(self) -> list[str]:
        """Its aliases when this was made."""
        return list(self._aliases)

    @property
    def taken(self) -> str:
        """How its snapshot was taken: ``reflink``, ``copy``, ``move``, ``in place``, ``rendered``."""
        return str(self._call["how"])

    @property
    def lost(self) -> str | None:
        """Why its bytes are not stored and never will be; None while nobody knows of that."""
        if self._entry is not None:
            return self._entry.lost
        lost = self._call.get("lost")
        return None if lost is None else str(lost)

    @property
    def token(self) -> str:
        """What names the call."""
        return str(self._call["token"])

    def wait(self, timeout: float = 60.0) -> bool:
        """Wait until it is stored for good; return whether it is.

        Blocks: at most ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        pause_s = FIRST_LOOK_S
        while not self._look():
            left = deadline - time.monotonic()
            if left <= 0 or self.lost is not None:
                break
            time.sleep(min(pause_s, left))
            pause_s = min(LAST_LOOK_S, pause_s * 1.5)
        return self._entry is not None and self._entry.stored

    def verify(self) -> bool:
        """Return True if its bytes are those that were logged.

        Raises:
            ArtifactDamagedError: they are not; has both digests.
            TrackingError: it is not stored, or by a collector on another host.
        """
        from neural.tracking.artifacts.check import Checker

        Checker().check(self._folder, self._stored())
        return True

    def copy_to(self, path: str | Path, *, force: bool = False) -> Path:
        """Copy it to ``path`` as ``cp -r`` does, into it where that is a folder; return where it is.

        Args:
            path: ``~`` is the home folder; the folder above must be there.
            force: whether a folder of that name is replaced. A file is replaced in any case.

        Raises:
            ArtifactDamagedError: its bytes are not those that were logged; nothing was put in place.
            TrackingError: as for ``verify``; or it is a reference, of which nothing was fetched.
            FileExistsError: a folder would replace something, or a file a folder.
            OSError: it cannot be written there.
        """
        from neural.tracking.artifacts.check import copy_out

        return copy_out(self._folder, self._stored(), path, force=force)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as ``artifacts.json`` has it; ``version`` is None where it is not stored."""
        entry = self._settled()
        if entry is not None:
            from neural.tracking.reader.artifact_views import told

            return told(entry, {entry.version or 0: self._aliases})
        about = {"artifact_name": self.artifact_name, "version": None, "path": None, "checksum": None}
        return {**about, "size": self.size, "timestamp": self.timestamp, "metadata": self.metadata}

    def _settled(self) -> ArtifactCall | None:
        """Return what is stored, waiting as long as there is hope; None where it is not stored."""
        if self._entry is None and self.lost is None:
            self.wait(0.0 if self._follow is None else self._follow.patience_s())
        return self._entry if self._entry is not None and self._entry.lost is None else None

    def _stored(self) -> ArtifactCall:
        entry = self._settled()
        if entry is None:
            why = self.lost or "the collector has not come to it yet"
            raise TrackingError(f"{self.artifact_name} is not stored: {why}")
        if self._is_elsewhere(entry):
            run, name = self._folder.name, self.artifact_name
            raise TrackingError(
                f"{name} is stored by a collector on another host, whose disk is not seen here; "
                f"there: `ntrack artifacts get {run.rpartition('_')[2]} {name} v{entry.version}`"
            )
        return entry

    def _is_elsewhere(self, entry: ArtifactCall) -> bool:
        far = self._follow is not None and self._follow.is_far
        return far and not os.path.lexists(self._folder / entry.path)

    def _look(self) -> bool:
        """Return whether it is known what came of it, after a look into the run folder."""
        if self._entry is None and self._follow is not None:
            found = self._follow.outcome(self.token)
            if found is not None:
                from neural.tracking.reader.artifacts import ArtifactCall

                self._entry = ArtifactCall(found.session, found.seq, self._time_ns, 0, self._call, found.told)
        return self._entry is not None
