"""Stores one artifact: its bytes, the blob, the version number, the current version. Blocks on the disk.

It runs in threads. The order in which things become durable: the bytes, the blob's name, the version's name.
Then the caller writes the note that names them. Only after the note is durable the caller removes the spooled
bytes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from neural.tracking.collector.artifacts import blobs
from neural.tracking.collector.artifacts.blobs import Staged
from neural.tracking.collector.artifacts.version_numbers import VersionNumbers, made_inside, version_name
from neural.tracking.core import copying, os_support
from neural.tracking.core.copying import identity, open_regular
from neural.tracking.core.files import fsync_dir, fsync_upwards, inside, is_there
from neural.tracking.formats import manifest
from neural.tracking.formats.manifest import ManifestEntry
from neural.tracking.state import spool
from neural.tracking.state.artifact_jobs import ArtifactJob
from neural.tracking.state.paths import State


class BytesLost(Exception):
    """The bytes are gone or differ from those of the call, for good; the reason goes into the note."""


class Commit:
    """Makes one job a version; a new object for each try."""

    def __init__(
        self,
        state: State,
        run: Path,
        job: ArtifactJob,
        numbers: VersionNumbers,
        on_progress: Callable[[int], None],
        *,
        again: bool,
        local: bool,
    ) -> None:
        """Prepare to store; touch nothing yet.

        Args:
            on_progress: is called with the size of each piece, in bytes; may raise Stopped.
            again: whether the job was tried before: any of its steps may have been done.
            local: whether the call was made on this host, so that a path it names means the same file here.
        """
        self._state, self._run, self._job = state, run, job
        self._numbers, self._on_progress, self._again, self._local = numbers, on_progress, again, local
        self._temporary = state.blobs / f".tmp-{state.collector_id()}-{job.token}"

    def store(self) -> dict[str, Any]:
        """Return what the note says of the stored artifact. Blocks while the bytes are hashed and synced.

        Raises:
            BytesLost: it can never be stored.
            OSError: the disk failed; calling again is safe.
            Stopped: ``on_progress`` raised it.
        """
        job = self._job
        if job.lost is not None:
            raise BytesLost(job.lost)
        if not self._state.blobs.is_dir():
            self._state.blobs.mkdir(parents=True, exist_ok=True)
            fsync_upwards(self._state.blobs.parent)
        try:
            if job.files is not None:
                return self._store_folder(job.spooled(self._state))
            staged = self._staged_source()
            outcome: dict[str, Any] = {"sha256": staged.sha256, "size": staged.size}
            if staged.executable:
                outcome["executable"] = True
            return outcome | (self._versioned(staged) if job.versioned else self._unversioned(staged))
        finally:
            spool.remove(self._temporary)

    def _staged_source(self) -> Staged:
        job = self._job
        path = job.spooled(self._state)
        if job.how == "in place" and self._local and not is_there(path):
            return self._staged_in_place()
        fd = _open(path)
        try:
            if os.fstat(fd).st_size != job.size:
                raise BytesLost(f"the snapshot has {os.fstat(fd).st_size} bytes, {job.size} were taken")
            return blobs.stage(fd, path, self._temporary, self._on_progress)
        finally:
            os.close(fd)

    def _staged_in_place(self) -> Staged:
        """Copy a file that the training promised not to change; a change raises BytesLost."""
        path = Path(self._job.source)
        fd = _open(path)
        try:
            before = identity(os.fstat(fd))
            os_support.check_reserve(self._state.blobs, self._job.size)
            self._temporary.unlink(missing_ok=True)
            mode = 0o700 if os.fstat(fd).st_mode & 0o111 else 0o600
            copy = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            try:
                copying.clone_or_copy(fd, copy, lambda count: self._on_progress(0))
            finally:
                os.close(copy)
            if not before == identity(os.fstat(fd)) == self._job.stat:
                raise BytesLost("the file was changed before the collector had read it")
        finally:
            os.close(fd)
        fd = _open(self._temporary)
        try:
            return blobs.stage(fd, self._temporary, self._temporary, self._on_progress)
        finally:
            os.close(fd)

    def _versioned(self, staged: Staged) -> dict[str, Any]:
        blob = blobs.add(self._state.blobs, staged, self._on_progress)
        number = self._claimed_number(blob)
        if number is None:
            number = self._numbers.claim(self._run, self._job.name, lambda path: self._link(blob, staged, path))
        path = self._path_of(number)
        self._make_current(lambda fresh: blobs.link(path, fresh))
        return {"version": number, "path": path.relative_to(self._run).as_posix()}

    def _unversioned(self, staged: Staged) -> dict[str, Any]:
        """Replace the current artifact, and keep nothing of the one before."""
        self._make_current(lambda fresh: blobs.link(staged.path, fresh))
        return {"version": None, "path": f"artifacts/{self._job.name}"}

    def _linker(self, blob: Path, staged: Staged) -> Callable[[Path], None]:
        return lambda target: self._link(blob, staged, target)

    def _link(self, blob: Path, staged: Staged, target: Path) -> None:
        try:
            blobs.link(blob, target)
        except FileNotFoundError:  # the blob was unreferenced until now, so it may have been swept
            blobs.link(blobs.add(self._state.blobs, staged, self._on_progress), target)

    def _claimed_number(self, blob: Path) -> int | None:
        """Return the number that an earlier try claimed for this job without writing a note."""
        if self._again:
            wanted = blob.stat()
            for number, path in self._numbers.unnoted(self._run, self._job.name):
                if os.path.samestat(path.lstat(), wanted):
                    return number
        return None

    def _path_of(self, number: int) -> Path:
        return inside(self._run, "versions", self._job.name) / version_name(number, self._job.name)

    def _make_current(self, put: Callable[[Path], None]) -> None:
        """Make what ``put`` places the current version: in ``artifacts/``, a plot also in ``plots/``."""
        for place in ("artifacts", "plots") if self._job.is_figure else ("artifacts",):
            folder = made_inside(self._run, place)
            fresh, shown = folder / f".tmp-{self._job.token}", folder / self._job.name
            spool.remove(fresh)
            put(fresh)
            if shown.is_dir() or (shown.exists() and fresh.is_dir()):
                spool.remove(shown)
            os.rename(fresh, shown)
            spool.remove(fresh)  # it is still there if both were names of one file: rename does nothing then
            fsync_dir(folder)

    # A folder: its files are blobs, and so is the manifest that lists them.

    def _store_folder(self, source: Path) -> dict[str, Any]:
        job = self._job
        if not is_there(source) or source.is_symlink() or not source.is_dir():
            raise BytesLost("the snapshot is gone")
        files: dict[str, Staged] = {}
        for path in sorted(_files(source)):
            fd = _open(path)
            try:
                relative = path.relative_to(source).as_posix()
                temporary = self._state.blobs / f"{self._temporary.name}-{len(files)}"
                files[relative] = blobs.stage(fd, path, temporary, self._on_progress)
            finally:
                os.close(fd)
        total = sum(staged.size for staged in files.values())
        if (len(files), total) != (job.files, job.size):
            raise BytesLost(
                f"the snapshot has {len(files)} files of {total} bytes, {job.files} of {job.size} were taken"
            )
        try:
            outcome = {"size": total, "files": len(files)}
            return outcome | (
                self._versioned_folder(files) if job.versioned else self._unversioned_folder(files)
            )
        finally:
            for staged in files.values():
                if staged.path.name.startswith(self._temporary.name):
                    staged.path.unlink(missing_ok=True)

    def _versioned_folder(self, files: dict[str, Staged]) -> dict[str, Any]:
        listing = self._manifest(files)
        shared = {
            name: (blobs.add(self._state.blobs, staged, self._on_progress), staged)
            for name, staged in files.items()
        }
        manifest_blob = blobs.add(self._state.blobs, listing, self._on_progress)
        versions = made_inside(self._run, "versions", self._job.name)
        built = versions / f".tmp-{self._job.token}"
        spool.remove(built)
        _build(built, {name: self._linker(blob, staged) for name, (blob, staged) in shared.items()})

        def put(target: Path) -> None:
            if target.exists():
                raise FileExistsError(errno.EEXIST, "taken", str(target))
            listed = target.with_name(target.name + manifest.SUFFIX)
            self._link(manifest_blob, listing, listed)  # the claim
            try:
                os.rename(built, target)
            except OSError:
                listed.unlink()
                raise

        number = self._claimed_folder_number(manifest_blob, built)
        if number is None:
            number = self._numbers.claim(self._run, self._job.name, put)
        path = self._path_of(number)
        self._make_current(lambda fresh: _build(fresh, {name: _linking(path / name) for name in files}))
        place = path.relative_to(self._run).as_posix()
        return {"version": number, "path": place, "sha256": listing.sha256}

    def _claimed_folder_number(self, manifest_blob: Path, built: Path) -> int | None:
        """Return the number that an earlier try claimed with its manifest; complete what that try began."""
        versions, name = built.parent, self._job.name
        wanted = manifest_blob.stat()
        for path in sorted(versions.glob("v*" + manifest.SUFFIX)) if self._again else ():
            number = path.name.removesuffix(manifest.SUFFIX).removesuffix(f"_{name}")[1:]
            if not number.isdigit() or not os.path.samestat(path.lstat(), wanted):
                continue
            target = versions / version_name(int(number), name)
            if not target.exists():
                os.rename(built, target)
                fsync_dir(versions)
            elif int(number) not in dict(self._numbers.unnoted(self._run, name)):
                continue
            spool.remove(built)
            return int(number)
        return None

    def _unversioned_folder(self, files: dict[str, Staged]) -> dict[str, Any]:
        listing = self._manifest(files)
        listed = made_inside(self._run, "versions", self._job.name) / manifest.CURRENT
        spool.remove(listed)
        blobs.link(listing.path, listed)
        self._make_current(
            lambda fresh: _build(fresh, {name: _linking(staged.path) for name, staged in files.items()})
        )
        return {"version": None, "path": f"artifacts/{self._job.name}", "sha256": listing.sha256}

    def _manifest(self, files: dict[str, Staged]) -> Staged:
        data = manifest.encode(
            ManifestEntry(name, each.size, each.sha256, each.executable) for name, each in files.items()
        )
        self._temporary.unlink(missing_ok=True)
        self._temporary.write_bytes(data)
        fd = _open(self._temporary)
        try:
            return blobs.stage(fd, self._temporary, self._temporary, self._on_progress)
        finally:
            os.close(fd)


def _build(folder: Path, puts: dict[str, Callable[[Path], None]]) -> None:
    """Make a folder of files, each put in place by its function; it is durable when this returns."""
    folder.mkdir()
    made = {folder}
    for relative, put in puts.items():
        path = inside(folder, *relative.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        made |= {parent for parent in path.parents if parent.is_relative_to(folder.resolve())}
        put(path)
    for each in made:
        fsync_dir(each)


def _linking(path: Path) -> Callable[[Path], None]:
    return lambda place: blobs.link(path, place)


def _files(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield Path(entry.path)


def _open(path: Path) -> int:
    """Open a file that is to be stored.

    Raises:
        BytesLost: it is gone, or is not a regular file.
        OSError: it cannot be read now; this may change, also if a permission is missing.
    """
    try:
        return open_regular(path, follow=False)
    except (FileNotFoundError, NotADirectoryError):
        raise BytesLost("the snapshot is gone") from None
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ELOOP, errno.ENXIO):
            raise BytesLost(f"the file cannot be read: {error.strerror}") from None
        raise
