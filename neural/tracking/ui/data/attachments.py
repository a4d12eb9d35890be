"""What belongs to a run beside its points: artifacts, pictures, and where else it was sent."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

from neural.tracking.artifacts.check import Checker, label, listed, place
from neural.tracking.core import copying
from neural.tracking.core.files import inside
from neural.tracking.errors import ArtifactDamagedError
from neural.tracking.reader.artifacts import ArtifactCall, Artifacts

UNVERSIONED = 0  # stands for the number of what was logged without a version
_CHUNK = 1 << 20


class Version(NamedTuple):
    """A stored artifact as the page lists it."""

    name: str
    number: int  # UNVERSIONED for what has none
    size: int
    checksum: str  # SHA-256, 64 hex digits
    aliases: tuple[str, ...]
    reference: str | None  # where it is, when only its address was logged
    is_folder: bool


def versions(artifacts: Artifacts) -> list[Version]:
    """Return the stored versions of a run's artifacts, by name, the newest first."""
    found = []
    for name in artifacts.names():
        aliases = artifacts.aliases(name)
        entries = list(reversed(artifacts.versions(name)))
        current = artifacts.current(name)
        if current is not None and current.version is None:
            entries.insert(0, current)
        for entry in entries:
            mine = tuple(sorted(alias for alias, number in aliases.items() if number == entry.version))
            found.append(
                Version(
                    name, entry.version or UNVERSIONED, entry.size, entry.checksum, mine,
                    entry.call.get("uri"), entry.is_folder,
                )
            )  # fmt: skip
    return found


def entry_of(artifacts: Artifacts, name: str, number: int) -> ArtifactCall | None:
    """Return what the page calls version ``number`` of an artifact."""
    if number != UNVERSIONED:
        return artifacts.find(name, number)
    found = artifacts.current(name)
    return found if found is not None and found.version is None else None


def opened(run: Path, entry: ArtifactCall) -> tuple[IO[bytes], str, int]:
    """Return a stored artifact checked and ready to be sent, its file name and size; a folder as a ZIP archive.

    Raises:
        ArtifactDamagedError: it is not what was logged.
        OSError: it cannot be read.
    """
    if entry.is_folder:
        return _archive(run, entry), f"{entry.name}.zip", 0
    # The same open file is checked and sent, so that what is sent is what was checked.
    fd = copying.open_regular(place(run, entry), follow=False)
    file = os.fdopen(fd, "rb")
    try:
        found = copying.digest(fd)
        if found != entry.checksum:
            raise ArtifactDamagedError(label(entry), entry.checksum, found)
        size = os.fstat(fd).st_size
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file, entry.name.rpartition("/")[2], size


def _archive(run: Path, entry: ArtifactCall) -> IO[bytes]:
    Checker().check(run, entry)
    target: IO[bytes] = TemporaryFile(prefix="ntrack-ui-")  # noqa: SIM115 - closed once it was sent
    folder = place(run, entry)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for item in listed(run, entry):
            archive.write(inside(folder, *item.path.split("/")), item.path)
    target.seek(0)
    return target


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """Yield a file's content, and close it."""
    with file:
        while piece := file.read(_CHUNK):
            yield piece


def plots(folder: Path) -> list[tuple[str, int]]:
    """Return the pictures of a run with the time of their last change, newest first."""
    found = []
    try:
        for path in (folder / "plots").iterdir():
            if path.suffix == ".png" and not path.name.startswith(".") and path.is_file():
                found.append((path.name, path.stat().st_mtime_ns))
    except OSError:
        return []
    return sorted(found, key=lambda one: (-one[1] // 10**9, one[0]))
