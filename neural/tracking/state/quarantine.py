"""Reads the quarantine: runs whose folders the store cannot use, the reasons, and the waiting events.

``<state>/quarantine/<uid>/`` holds ``why.json`` and a segment in the log's format with the run's events that
the store's cursor has passed. The store tries the folder again automatically; quarantined events are not
lost.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from neural.tracking.core.files import read_json
from neural.tracking.state.paths import State

WHY_FILE = "why.json"


class QuarantinedRun(NamedTuple):
    """One quarantined run: ``run`` is the name of its folder, ``error`` the failure of the last try.

    ``place`` is its folder in the quarantine, ``since_ns`` when it was put there (nanoseconds since 1970).
    """

    uid: bytes
    place: Path
    run: str
    error: str
    since_ns: int
    size_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the entry for ``ntrack status --json``."""
        return {
            "uid": self.uid.hex(),
            "run": self.run,
            "error": self.error,
            "since_ns": self.since_ns,
            "size_bytes": self.size_bytes,
            "place": str(self.place),
        }


def any_quarantined(state: State) -> bool:
    """Return whether any run is quarantined; False if that is unknown. Blocks for one read of a folder."""
    try:
        return bool(os.listdir(state.quarantine))
    except OSError:
        return False


def is_quarantined(state: State, uid: bytes) -> bool:
    """Return whether this run is quarantined, so that its folder may lack events that the store applied."""
    return os.path.isdir(state.quarantine / uid.hex())


def list_quarantined(state: State) -> list[QuarantinedRun]:
    """Return all quarantined runs, without those that are released meanwhile. Blocks on the disk."""
    try:
        places = sorted(path for path in state.quarantine.iterdir() if len(path.name) == 32)
    except OSError:
        return []
    found = []
    for place in places:
        try:
            why = read_json(place / WHY_FILE)
            if why is None:
                continue  # it is being created or removed
            size = sum(path.stat().st_size for path in place.glob("*.seg"))
            uid = bytes.fromhex(place.name)
        except (OSError, ValueError):
            continue
        run, error = str(why.get("run", "?")), str(why.get("error", "?"))
        since_ns = why["since_ns"] if isinstance(why.get("since_ns"), int) else 0
        found.append(QuarantinedRun(uid, place, run, error, since_ns, size))
    return found
