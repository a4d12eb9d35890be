"""What a run's events lines say of its artifacts: each call, and what became of it.

A call is an ``artifact`` event; what the collector made of it is the note ``artifact`` with the event's
number as its key; a version removed on purpose has a note ``artifact_pruned``.
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


# What a call may say; what is of another type was said by somebody else, and does not count.
_TYPES = {
    "name": str, "type": str, "how": str, "source": str, "uri": str, "token": str, "lost": str,
    "size": int, "files": int, "versioned": bool, "metadata": dict,
}  # fmt: skip


def call_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an artifact event says, of whatever origin, without what no call could have said.

    Under ``refused`` is why the collector makes nothing of it, if it does not.
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
        return str(self.call.get("name"))

    @property
    def version(self) -> int | None:
        """The number of the version; None while it has none, and for what made none."""
        found = None if self.outcome is None else self.outcome.get("version")
        return found if isinstance(found, int) else None

    @property
    def lost(self) -> str | None:
        """Why the bytes are not stored and never will be."""
        found = self.call.get("refused") if self.outcome is None else self.outcome.get("lost")
        return None if found is None else str(found)

    @property
    def stored(self) -> bool:
        """Whether its bytes were stored, and not removed on purpose since."""
        return self.outcome is not None and self.lost is None and not self.pruned

    @property
    def path(self) -> str:
        """Where it lies below the run folder."""
        return str((self.outcome or {}).get("path", ""))

    @property
    def checksum(self) -> str:
        """The SHA-256 of its bytes; of a folder, of its manifest."""
        return str((self.outcome or {}).get("sha256", ""))

    @property
    def size(self) -> int:
        """How many bytes, all files of a folder together."""
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
        """Return the names under which something is stored, sorted."""
        return sorted({entry.name for entry in self.entries if entry.stored})

    def versions(self, name: str) -> list[ArtifactCall]:
        """Return the stored versions of a name, oldest first."""
        found = [e for e in self.entries if e.name == name and e.stored and e.version is not None]
        return sorted(found, key=lambda entry: entry.version or 0)

    def aliases(self, name: str) -> dict[str, int]:
        """Return alias to version; of two calls with the same alias the later counts."""
        found: dict[str, int] = {}
        for entry in self.entries:
            if entry.name == name and entry.stored and entry.version is not None:
                found.update(dict.fromkeys(entry.call.get("aliases") or (), entry.version))
        if versions := self.versions(name):
            found[LATEST] = versions[-1].version or 0
        return found

    def all_aliases(self) -> set[str]:
        """Return every alias that some version has, or one on its way will have."""
        there = {alias for name in self.names() for alias in self.aliases(name)}
        return there | {alias for entry in self.waiting() for alias in entry.call.get("aliases") or ()}

    def find(self, name: str, wanted: int | str = -1) -> ArtifactCall | None:
        """Return a version by number, ``v<number>``, alias, or counted from the newest with -1; else None."""
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
        """Return what lies under ``artifacts/``: what was logged last."""
        return next((e for e in reversed(self.entries) if e.name == name and e.stored), None)

    def waiting(self) -> list[ArtifactCall]:
        """Return the calls whose bytes are on their way."""
        return [entry for entry in self.entries if entry.outcome is None and entry.lost is None]

    def lost(self) -> list[ArtifactCall]:
        """Return the calls whose bytes were lost, each with its reason."""
        return [entry for entry in self.entries if entry.lost is not None]
