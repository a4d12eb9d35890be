"""Runs whose folders the store cannot use, as a reader sees them: which, why, and what waits for each.

``<state>/quarantine/<uid>/`` holds ``why.json`` and one segment of the log's format with everything of the
run that the store's cursor has passed. The store tries the folder again by itself; what is here is not lost.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from neural.tracking.core.files import read_json
from neural.tracking.state.paths import State

WHY_FILE = "why.json"


class QuarantinedRun(NamedTuple):
    """One of them: ``run`` is the folder it belongs into, ``error`` what the last try met."""

    uid: bytes
    place: Path
    run: str
    error: str
    since_ns: int
    size_bytes: int

    def told(self) -> dict[str, Any]:
        """Return what ``status`` tells of it."""
        return {
            "uid": self.uid.hex(),
            "run": self.run,
            "error": self.error,
            "since_ns": self.since_ns,
            "size_bytes": self.size_bytes,
            "place": str(self.place),
        }


def any_quarantined(state: State) -> bool:
    """Return whether some run is; costs one look at a folder that is mostly not there."""
    try:
        return bool(os.listdir(state.quarantine))
    except OSError:
        return False


def is_quarantined(state: State, uid: bytes) -> bool:
    """Return whether what the store applied of this run may not be in its folder."""
    return os.path.isdir(state.quarantine / uid.hex())


def list_quarantined(state: State) -> list[QuarantinedRun]:
    """Return all of them, those that are released meanwhile left out."""
    try:
        places = sorted(path for path in state.quarantine.iterdir() if len(path.name) == 32)
    except OSError:
        return []
    found = []
    for place in places:
        try:
            why = read_json(place / WHY_FILE)
            if why is None:
                continue  # being made, or being removed
            size = sum(path.stat().st_size for path in place.glob("*.seg"))
            uid = bytes.fromhex(place.name)
        except (OSError, ValueError):
            continue
        run, error = str(why.get("run", "?")), str(why.get("error", "?"))
        since_ns = why["since_ns"] if isinstance(why.get("since_ns"), int) else 0
        found.append(QuarantinedRun(uid, place, run, error, since_ns, size))
    return found
