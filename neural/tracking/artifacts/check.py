"""Checks stored artifacts against their digests, and copies them; damaged artifacts are never copied."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from neural.tracking.core import copying
from neural.tracking.core.copying import Progress, identity, nothing, open_regular
from neural.tracking.core.files import TEMPORARY_PREFIX, inside
from neural.tracking.errors import ArtifactDamagedError, FormatError, InvalidNameError, TrackingError
from neural.tracking.formats import manifest
from neural.tracking.formats.manifest import ManifestEntry
from neural.tracking.reader.artifacts import ArtifactCall
from neural.tracking.state import spool


class Checker:
    """Checks the artifacts of run folders; a blob that several versions share is read once."""

    def __init__(self, progress: Progress = nothing) -> None:
        self._progress = progress
        self._known: dict[tuple[int, ...], str] = {}

    def check(self, run: Path, entry: ArtifactCall) -> None:
        """Return if every byte of a stored artifact is as it was logged. Blocks: reads the artifact.

        Raises:
            ArtifactDamagedError: it is damaged or incomplete, or its folder has an additional file.
            OSError: it cannot be read.
        """
        if not entry.is_folder:
            self._expect(place(run, entry), entry.checksum, label(entry))
            return
        folder = place(run, entry)
        items = listed(run, entry)
        for item in items:
            self._expect(folder / item.path, item.sha256, f"{label(entry)}/{item.path}")
        extra = sorted(set(_files(folder)) - {item.path for item in items})
        if extra:
            raise ArtifactDamagedError(f"{label(entry)}/{extra[0]}", "of no such file", "an additional file")

    def _expect(self, path: Path, expected: str, what: str) -> None:
        found = self._digest(path)
        if found != expected:
            raise ArtifactDamagedError(what, expected, found)

    def _digest(self, path: Path) -> str:
        try:
            fd = open_regular(path, follow=False)
        except (FileNotFoundError, NotADirectoryError):
            return "nothing: it is missing"
        try:
            status = os.fstat(fd)
            which = (status.st_dev, *identity(status))
            if which not in self._known:
                self._known[which] = copying.digest(fd, self._progress)
            return self._known[which]
        finally:
            os.close(fd)


def label(entry: ArtifactCall) -> str:
    """Return the name of an artifact for people, with its version."""
    return f"{entry.name} v{entry.version}" if entry.version is not None else f"{entry.name} (unversioned)"


def place(run: Path, entry: ArtifactCall) -> Path:
    """Return the path of an artifact in its run folder.

    Raises:
        ArtifactDamagedError: a symbolic link on the path leads out of the run folder.
    """
    try:
        return inside(run, *entry.path.split("/")[:-1]) / entry.path.rpartition("/")[2]
    except InvalidNameError:
        raise ArtifactDamagedError(label(entry), entry.checksum, "a link out of the run folder") from None


def links(run: Path, entry: ArtifactCall) -> Iterator[tuple[int, int]]:
    """Yield device and inode number of every file of a stored version and its manifest."""
    path = place(run, entry)
    for file in (path, path.with_name(path.name + manifest.SUFFIX), *(path / name for name in _files(path))):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = file.lstat()
            yield found.st_dev, found.st_ino


def listed(run: Path, entry: ArtifactCall) -> list[ManifestEntry]:
    """Return the entries of a folder artifact's manifest. Blocks on the disk.

    Raises:
        ArtifactDamagedError: the manifest is damaged or missing.
    """
    folder = place(run, entry)
    if entry.version is None:
        path = run / "versions" / entry.name / manifest.CURRENT
    else:
        path = folder.with_name(folder.name + manifest.SUFFIX)
    try:
        fd = open_regular(path, follow=False)
    except FileNotFoundError:
        raise ArtifactDamagedError(f"manifest of {label(entry)}", entry.checksum, "nothing") from None
    try:
        found = copying.digest(fd)
        if found != entry.checksum:
            raise ArtifactDamagedError(f"manifest of {label(entry)}", entry.checksum, found)
        return manifest.decode(os.pread(fd, os.fstat(fd).st_size, 0))
    except FormatError as error:
        raise ArtifactDamagedError(f"manifest of {label(entry)}", entry.checksum, str(error)) from error
    finally:
        os.close(fd)


def copy_out(run: Path, entry: ArtifactCall, target: Path, progress: Progress = nothing) -> Path:
    """Copy a stored artifact to ``target``, or into it if that is a folder; return the path of the copy.

    Blocks until the copy is complete and checked.

    Raises:
        ArtifactDamagedError: it differs from what was logged; then ``target`` is unchanged.
        FileExistsError: the artifact is a folder and the target exists.
        TrackingError: it is a reference, whose content is not stored.
        OSError: it cannot be read or written.
    """
    if uri := entry.call.get("uri"):
        raise TrackingError(f"{label(entry)} is a reference to {uri}: its content is not stored")
    if target.is_dir():
        target = inside(target, entry.name)  # the run folder may come from anywhere: do not trust the name
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}")
    source = place(run, entry)
    try:
        if entry.is_folder:
            if target.exists():
                raise FileExistsError(17, "the target exists already", str(target))
            temporary.mkdir()
            for item in listed(run, entry):
                path = inside(temporary, *item.path.split("/"))
                path.parent.mkdir(parents=True, exist_ok=True)
                _copy(source / item.path, path, item.sha256, f"{label(entry)}/{item.path}", progress)
        else:
            _copy(source, temporary, entry.checksum, label(entry), progress)
        os.rename(temporary, target)
    finally:
        spool.remove(temporary)
    return target


def _copy(source: Path, target: Path, expected: str, what: str, progress: Progress) -> None:
    try:
        fd = open_regular(source, follow=False)
    except FileNotFoundError:
        raise ArtifactDamagedError(what, expected, "nothing: it is missing") from None
    try:
        copy = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            # A copy is read a second time for its digest: copying and checking each count as half.
            how, _ = copying.clone_or_copy(fd, copy, lambda count: progress(count // 2))
            found = copying.digest(copy, progress if how == "reflink" else lambda count: progress(count // 2))
        finally:
            os.close(copy)
    finally:
        os.close(fd)
    if found != expected:
        raise ArtifactDamagedError(what, expected, found)


def _files(folder: Path, prefix: str = "") -> Iterator[str]:
    for entry in os.scandir(folder) if folder.is_dir() else ():
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path), f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name
