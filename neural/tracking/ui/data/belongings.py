"""What lies in a run folder beside its events and points: artifacts, pictures, and where else it was sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from neural.tracking.reader.run import Run


class Version(NamedTuple):
    """A version of an artifact as the page lists it."""

    name: str
    number: int
    size: int
    checksum: str  # SHA-256, 64 hex digits
    path: tuple[str, ...]  # below the run folder


def versions(run: Run) -> list[Version]:
    """Return the versions of a run's artifacts, by name, the newest first."""
    return []


def plots(folder: Path) -> list[tuple[str, int]]:
    """Return the pictures of a run with the time of their last change, newest first."""
    found = []
    try:
        for path in (folder / "plots").iterdir():
            if path.suffix == ".png" and path.is_file():
                found.append((path.name, path.stat().st_mtime_ns))
    except OSError:
        return []
    return sorted(found, key=lambda one: (-one[1] // 10**9, one[0]))


def links(folder: Path, metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (backend, address) for each backend a run was delivered to and whose sink told where."""
    try:
        found = json.loads((folder / "links.json").read_bytes())
    except (OSError, ValueError):
        return []
    return [(str(name), str(where)) for name, where in found.items()] if isinstance(found, dict) else []
