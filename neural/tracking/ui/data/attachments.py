"""The artifacts and the plots of a run."""

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

UNVERSIONED = 0  # the number of an artifact that was logged without a version
_CHUNK = 1 << 20


class Version(NamedTuple):
    """A stored artifact as the page lists it."""

    name: str
    number: int  # UNVERSIONED if it has no version
    size: int
    checksum: str  # SHA-256, 64 hex digits
    aliases: tuple[str, ...]
    reference: str | None  # its address, if only the address was logged
    is_folder: bool


def versions(artifacts: Artifacts) -> list[Version]:
    """Return the stored versions of the artifacts of a run, by name, the newest first."""
    found = []
    for name in artifacts.names():
        aliases = artifacts.aliases(name)
        entries = list(reversed(artifacts.versions(name)))
        current = artifacts.current(name)
        if current is not None and current.version is None:
            entries.insert(0, current)
        for entry in entries:
            names = tuple(sorted(alias for alias, number in aliases.items() if number == entry.version))
            found.append(
                Version(
                    name, entry.version or UNVERSIONED, entry.size, entry.checksum, names,
                    entry.call.get("uri"), entry.is_folder,
                )
            )  # fmt: skip
    return found


def entry_of(artifacts: Artifacts, name: str, number: int) -> ArtifactCall | None:
    """Return version ``number`` of an artifact, or its entry without version; None if there is none."""
    if number != UNVERSIONED:
        return artifacts.find(name, number)
    found = artifacts.current(name)
    return found if found is not None and found.version is None else None


def opened(run: Path, entry: ArtifactCall) -> tuple[IO[bytes], str, int]:
    """Return the checked content of an artifact as an open file, its file name, and its size.

    A folder becomes a ZIP archive in a temporary file, with size 0. Blocks while it reads the whole artifact.

    Raises:
        ArtifactDamagedError: the content is not what was logged.
        OSError: it cannot be read.
    """
    if entry.is_folder:
        return _archive(run, entry), f"{entry.name}.zip", 0
    # The same open file is checked and sent: so nobody can replace the content in between.
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
    target: IO[bytes] = TemporaryFile(prefix="ntrack-ui-")  # noqa: SIM115 - pieces() closes it
    folder = place(run, entry)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for item in listed(run, entry):
            archive.write(inside(folder, *item.path.split("/")), item.path)
    target.seek(0)
    return target


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the content of a file in pieces of 1 MiB, then close the file."""
    with file:
        while piece := file.read(_CHUNK):
            yield piece


def plots(folder: Path) -> list[tuple[str, int]]:
    """Return (file name, modification time in ns) of the plots of a run, newest first; [] if it has none."""
    found = []
    try:
        for path in (folder / "plots").iterdir():
            if path.suffix == ".png" and not path.name.startswith(".") and path.is_file():
                found.append((path.name, path.stat().st_mtime_ns))
    except OSError:
        return []
    return sorted(found, key=lambda one: (-one[1] // 10**9, one[0]))
