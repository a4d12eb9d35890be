"""The form of artifacts for people and programs: ``artifacts.json``, ``to_dict()``, ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neural.tracking.core.times import iso_time
from neural.tracking.reader.artifacts import ArtifactCall, Artifacts


def artifacts_view(artifacts: Artifacts) -> dict[str, Any]:
    """Return the content of ``artifacts.json``: for each name the current artifact and its versions."""
    shown: dict[str, Any] = {}
    for name in artifacts.names():
        aliases = names_of_versions(artifacts, name)
        current = artifacts.current(name)
        path = f"artifacts/{name}"
        shown[name] = {
            "current": None if current is None else {**call_view(current, aliases), "path": path},
            "versions": [call_view(entry, aliases) for entry in artifacts.versions(name)],
        }
    return shown


def names_of_versions(artifacts: Artifacts, name: str) -> dict[int, list[str]]:
    """Return the aliases of each version of a name, by version number."""
    found: dict[int, list[str]] = {}
    for alias, number in sorted(artifacts.aliases(name).items()):
        found.setdefault(number, []).append(alias)
    return found


def call_view(entry: ArtifactCall, aliases: Mapping[int, list[str]]) -> dict[str, Any]:
    """Return one artifact call and its outcome as JSON-able data; ``aliases`` by version number."""
    call = entry.call
    view = {
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
    return view | {key: value for key, value in more.items() if value is not None}
