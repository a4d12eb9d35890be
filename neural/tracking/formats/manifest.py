"""The manifest of a folder artifact: a JSON list of its files, each with size and SHA-256.

The manifest of version ``v3_weights`` is ``v3_weights.manifest.json`` beside it. The SHA-256 of the manifest
is the version's checksum.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from neural.tracking.errors import FormatError

FORMAT = 1
SUFFIX = ".manifest.json"
CURRENT = "current" + SUFFIX  # of a folder logged with version=False


class ManifestEntry(NamedTuple):
    """A file of the folder; ``path`` is relative, has ``/`` between its parts and never leaves the folder."""

    path: str
    size: int
    sha256: str
    executable: bool = False  # a file that is not has no such key


def encode(items: Iterable[ManifestEntry]) -> bytes:
    """Return the manifest's bytes; the same items in any order give the same bytes."""
    listed = [
        {key: value for key, value in item._asdict().items() if value is not False} for item in sorted(items)
    ]
    return json.dumps({"format": FORMAT, "files": listed}, ensure_ascii=False, indent=1).encode()


def decode(data: bytes) -> list[ManifestEntry]:
    """Return the items of a manifest.

    Raises:
        FormatError: it is not a manifest, or lists a path outside the folder.
    """
    try:
        found = json.loads(data)
        items = [
            ManifestEntry(
                str(each["path"]), int(each["size"]), str(each["sha256"]), each.get("executable") is True
            )
            for each in found["files"]
        ]
        if found["format"] != FORMAT:
            raise FormatError(f"manifest has format {found['format']}, this release reads {FORMAT}")
    except FormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"not a manifest: {error}") from error
    for item in items:
        check_relative(item.path)
    return items


def check_relative(path: str) -> str:
    """Return ``path`` if it stays below the folder it is joined to, else raise FormatError."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise FormatError(f"path {path[:60]!r} leaves its folder")
    return path
