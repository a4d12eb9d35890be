"""How artifacts are told to people and programs: ``artifacts.json``, ``to_dict()``, ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neural.tracking.core.times import iso_time
from neural.tracking.reader.artifacts import ArtifactCall, Artifacts


def artifacts_view(artifacts: Artifacts) -> dict[str, Any]:
    """Return what ``artifacts.json`` says: of each name what is current, and its versions."""
    shown: dict[str, Any] = {}
    for name in artifacts.names():
        aliases = names_of_versions(artifacts, name)
        current = artifacts.current(name)
        shown[name] = {
            "current": None if current is None else {**told(current, aliases), "path": f"artifacts/{name}"},
            "versions": [told(entry, aliases) for entry in artifacts.versions(name)],
        }
    return shown


def names_of_versions(artifacts: Artifacts, name: str) -> dict[int, list[str]]:
    """Return version to its aliases."""
    found: dict[int, list[str]] = {}
    for alias, number in sorted(artifacts.aliases(name).items()):
        found.setdefault(number, []).append(alias)
    return found


def told(entry: ArtifactCall, aliases: Mapping[int, list[str]]) -> dict[str, Any]:
    """Return what is said of one artifact call and what came of it."""
    call = entry.call
    about = {
        "artifact_name": entry.name,
        "version": entry.version,
        "path": entry.path,
        "checksum": entry.checksum,
        "size": entry.size,
        "timestamp": iso_time(entry.time_ns),
        "type": call.get("type", "artifact"),
        "aliases": aliases.get(entry.version or 0, []),
        "metadata": call.get("metadata") or {},
        "rank": entry.rank,
        "taken": call.get("how"),
        "source": call.get("source"),
    }
    more = {"files": (entry.outcome or {}).get("files"), "uri": call.get("uri")}
    return about | {key: value for key, value in more.items() if value is not None}
