"""The artifacts of a run from its event lines: each call and its outcome.

A call is an ``artifact`` event. Its outcome is a note ``artifact`` whose key is the event's number. A pruned
version has a note ``artifact_pruned``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from neural.tracking.core.names import check_alias
from neural.tracking.errors import InvalidNameError
from neural.tracking.formats import artifact_event

LATEST = "latest"
_NUMBER = re.compile(r"[vV]?(-?\d{1,18})")


# The keys of a call and their types; a value of another type is ignored.
_TYPES = {
    "name": str, "type": str, "how": str, "source": str, "uri": str, "token": str, "lost": str,
    "size": int, "files": int, "versioned": bool, "metadata": dict,
}  # fmt: skip


def call_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of an artifact event, of any origin, without values that no call can have.

    The value of ``refused`` is the reason why the collector refuses the event, None if it does not.
    """
    known = {key: value for key, value in data.items() if isinstance(value, _TYPES.get(key, object))}
    given = data.get("aliases")
    known["aliases"] = [one for one in given if _is_alias(one)] if isinstance(given, list) else []
    return {**known, "refused": artifact_event.refusal(data)}


def _is_alias(value: object) -> bool:
    try:
        return check_alias(value) == value
    except (TypeError, InvalidNameError):
        return False


class ArtifactCall(NamedTuple):
    """One artifact call. ``outcome`` is None while the collector has not stored it."""

    session: str
    seq: int
    time_ns: int
    rank: int
    call: Mapping[str, Any]
    outcome: Mapping[str, Any] | None
    pruned: bool = False

    @property
    def name(self) -> str:
        """The artifact's name."""
        return str(self.call.get("name"))

    @property
    def version(self) -> int | None:
        """The version number; None while it is unknown, and for a call that made no version."""
        found = None if self.outcome is None else self.outcome.get("version")
        return found if isinstance(found, int) else None

    @property
    def lost(self) -> str | None:
        """The reason why the bytes will never be stored; None if they are not lost."""
        found = self.call.get("refused") if self.outcome is None else self.outcome.get("lost")
        return None if found is None else str(found)

    @property
    def stored(self) -> bool:
        """Whether its bytes were stored and not pruned since."""
        return self.outcome is not None and self.lost is None and not self.pruned

    @property
    def path(self) -> str:
        """Its path relative to the run folder; empty if it is not stored."""
        return str((self.outcome or {}).get("path", ""))

    @property
    def checksum(self) -> str:
        """The SHA-256 of its bytes (of a folder: of its manifest); empty if it is not stored."""
        return str((self.outcome or {}).get("sha256", ""))

    @property
    def size(self) -> int:
        """Its size in bytes; of a folder, the total of its files."""
        return int((self.outcome or {}).get("size", self.call.get("size", 0)))

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder with a manifest."""
        return (self.outcome or self.call).get("files") is not None


@dataclass
class Artifacts:
    """All artifact calls of a run, in the order (time, session, number)."""

    entries: list[ArtifactCall] = field(default_factory=list)

    def names(self) -> list[str]:
        """Return the names that have a stored artifact, sorted."""
        return sorted({entry.name for entry in self.entries if entry.stored})

    def versions(self, name: str) -> list[ArtifactCall]:
        """Return the stored versions of a name, oldest first."""
        found = [e for e in self.entries if e.name == name and e.stored and e.version is not None]
        return sorted(found, key=lambda entry: entry.version or 0)

    def aliases(self, name: str) -> dict[str, int]:
        """Return the version of each alias of a name; if two calls have the same alias, the later counts."""
        found: dict[str, int] = {}
        for entry in self.entries:
            if entry.name == name and entry.stored and entry.version is not None:
                found.update(dict.fromkeys(entry.call.get("aliases") or (), entry.version))
        if versions := self.versions(name):
            found[LATEST] = versions[-1].version or 0
        return found

    def all_aliases(self) -> set[str]:
        """Return every alias of a stored version or of a call that is not stored yet."""
        stored = {alias for name in self.names() for alias in self.aliases(name)}
        return stored | {alias for entry in self.waiting() for alias in entry.call.get("aliases") or ()}

    def find(self, name: str, wanted: int | str = -1) -> ArtifactCall | None:
        """Return the stored version for a number, ``v<number>`` or alias (-1: the newest); None if unknown."""
        versions = self.versions(name)
        number = _NUMBER.fullmatch(str(wanted))
        if isinstance(wanted, bool) or number is None:
            number_wanted = self.aliases(name).get(str(wanted), 0)
        else:
            number_wanted = int(number[1])
        if number_wanted < 0:
            return versions[number_wanted] if -number_wanted <= len(versions) else None
        return next((entry for entry in versions if entry.version == number_wanted), None)

    def current(self, name: str) -> ArtifactCall | None:
        """Return the stored call that is current under ``artifacts/``, the last one; None if there is none."""
        return next((e for e in reversed(self.entries) if e.name == name and e.stored), None)

    def waiting(self) -> list[ArtifactCall]:
        """Return the calls whose bytes are not stored yet and not lost."""
        return [entry for entry in self.entries if entry.outcome is None and entry.lost is None]

    def lost(self) -> list[ArtifactCall]:
        """Return the calls whose bytes were lost; ``lost`` of each is the reason."""
        return [entry for entry in self.entries if entry.lost is not None]
