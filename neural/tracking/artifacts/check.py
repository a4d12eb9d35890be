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


def copy_out(
    run: Path,
    entry: ArtifactCall,
    target: Path | str,
    progress: Progress = nothing,
    *,
    force: bool = False,
) -> Path:
    """Copy a stored artifact out of its run as ``cp -r`` does; return the path of the copy.

    Blocks until the copy is complete and checked.

    Args:
        run: the run's folder.
        entry: the artifact.
        target: a path, or a folder to write into; ``~`` is the home folder, links are followed.
        progress: is called with the size of each piece, in bytes.
        force: whether an existing folder is replaced; an existing file is replaced in any case.

    Raises:
        ArtifactDamagedError: it differs from what was logged; then ``target`` is unchanged.
        FileExistsError: a folder would replace something, or a file a folder.
        FileNotFoundError, NotADirectoryError: there is no such folder to write into.
        TrackingError: it is a reference, whose content is not stored.
        OSError: it cannot be read or written.
    """
    if uri := entry.call.get("uri"):
        raise TrackingError(f"{label(entry)} is a reference to {uri}: its content is not stored")
    path_out = target_of(entry, target)
    if os.path.lexists(path_out) and (path_out.is_dir() or entry.is_folder):
        if not (force and entry.is_folder):
            raise FileExistsError(17, "the target exists already", str(path_out))
    elif not path_out.parent.is_dir():
        raise FileNotFoundError(2, "there is no such folder", str(path_out.parent))
    temporary = path_out.with_name(f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}")
    old = temporary.with_name(f"{temporary.name}-old")
    source = place(run, entry)
    try:
        if entry.is_folder:
            temporary.mkdir()
            for item in listed(run, entry):
                path = inside(temporary, *item.path.split("/"))
                path.parent.mkdir(parents=True, exist_ok=True)
                what = f"{label(entry)}/{item.path}"
                _copy(source / item.path, path, item.sha256, what, progress, executable=item.executable)
            if os.path.lexists(path_out):
                os.rename(path_out, old)
        else:
            executable = (entry.outcome or {}).get("executable") is True
            _copy(source, temporary, entry.checksum, label(entry), progress, executable=executable)
        os.rename(temporary, path_out)
        spool.remove(old)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(path_out):
            os.rename(old, path_out)
        raise
    finally:
        spool.remove(temporary)
    return path_out


def target_of(entry: ArtifactCall, target: Path | str) -> Path:
    """Return where a copy of an artifact goes that is copied to ``target``. Blocks on the disk.

    Raises:
        NotADirectoryError: ``target`` ends in ``/``, and there is no such folder to put a file in.
        OSError: links lead to each other.
    """
    path = Path(target).expanduser()
    if path.is_dir():
        return inside(path, entry.name)  # the run folder may come from anywhere: do not trust the name
    if str(target).endswith("/") and not entry.is_folder:
        raise NotADirectoryError(20, "there is no such folder", str(target))
    return path.resolve() if path.is_symlink() else path


def _copy(
    source: Path, target: Path, expected: str, what: str, progress: Progress, *, executable: bool
) -> None:
    try:
        fd = open_regular(source, follow=False)
    except FileNotFoundError:
        raise ArtifactDamagedError(what, expected, "nothing: it is missing") from None
    try:
        mode = 0o777 if executable else 0o666  # less the user's umask, as cp does
        copy = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
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
