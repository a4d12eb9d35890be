"""Takes snapshots of the files of an artifact call and puts them into the spool before the call returns.

The next checkpoint may overwrite the same path, so the call copies the file. It shares blocks if the file
system can, otherwise it copies inside the kernel. It neither hashes nor syncs; the collector does both before
it reports a version as stored. A source that changes while it is read is an error, and nothing is recorded.
A full disk or spool is not an error: the training continues, and the event records what was lost and why.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neural.tracking.core import os_support
from neural.tracking.core.copying import begins_with, clone_or_copy, identity, open_regular
from neural.tracking.core.files import TEMPORARY_PREFIX
from neural.tracking.core.warn import warn
from neural.tracking.errors import InvalidNameError, SourceChangedError
from neural.tracking.formats.artifact_event import new_token
from neural.tracking.state import spool
from neural.tracking.state.paths import private_folder

if TYPE_CHECKING:
    from neural.tracking.agent.session import Session

MEASURE_EVERY_S = 1.0  # between two measurements of the size of the whole spool
MAX_FILES = 100_000

_spooled: dict[Path, tuple[float, int]] = {}  # by spool: time of the last measurement, bytes then and since


class Snapshot:
    """The snapshot of one source; ``lost`` is the reason if there was no room to take it, else None."""

    def __init__(self, source: str, how: str, size: int) -> None:
        self.token = new_token()
        self.source = source
        self.how = how
        self.size = size
        self.files: int | None = None  # of a folder
        self.stat: list[int] | None = None  # of a source that stays at its path: detects a later change
        self.lost: str | None = None
        self._path: Path | None = None

    def release_source(self) -> None:
        """Remove the source of ``move=True``; call it once the event is in the outbox. Raises OSError."""
        if self.how == "move" and self.lost is None:
            spool.remove(Path(self.source))

    def discard(self) -> None:
        """Remove the snapshot, because its event was not kept. A source of ``move=True`` remains."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                spool.remove(self._path)


def take(session: Session, source: str, *, move: bool) -> Snapshot:
    """Return a snapshot of a file or folder. Blocks on the disk for the copy.

    Raises:
        OSError: the source is missing, not readable, neither file nor folder, or a loop of links.
        SourceChangedError: the source changed during the copy, and did not only grow.
        ValueError: a folder without a file, with over 100,000 files or with names that are not UTF-8; a link
            or a folder that holds the runs, to be moved.
    """
    if move and os.path.islink(source):
        raise ValueError(f"{source} is a symbolic link; move=True wants the file itself")
    is_folder = stat.S_ISDIR(os.stat(source).st_mode)
    without = _places_of(session)
    if move and is_folder and any(Path(source).resolve() in (place, *place.parents) for place in without):
        raise ValueError(f"{source} holds the runs themselves; move=True would remove them")
    found = _list(source, without) if is_folder else {"": _regular(source)}
    taken = Snapshot(source, "move" if move else "copy", sum(each.st_size for each in found.values()))
    taken.files = len(found) if is_folder else None

    def fill(path: Path) -> None:
        if not is_folder:
            taken.how, taken.size = _take_file(source, path, move=move)
            return
        path.mkdir()
        for relative in found:
            (path / relative).parent.mkdir(parents=True, exist_ok=True)
            taken.how, _ = _take_file(os.path.join(source, relative), path / relative, move=move)
        after = _list(source, without)
        if after.keys() != found.keys():
            raise SourceChangedError(source, f"{len(found)} files", f"{len(after)} files, or others")
        for name, before in found.items():
            if identity(before)[:2] != identity(after[name])[:2]:
                _check_grown(os.path.join(source, name), path / name, before)
        taken.size = sum(each.stat().st_size for each in map(path.joinpath, found))

    return _spooled_as(session, taken, fill)


def leave_in_place(source: str) -> Snapshot:
    """Return a snapshot without a copy: the file's path, size and identity.

    Nobody may change the file until the collector has read it. Raises OSError as :func:`take`.
    """
    found = _regular(source)
    taken = Snapshot(os.path.realpath(source), "in place", found.st_size)
    taken.stat = list(identity(found))
    return taken


def render(session: Session, write: Callable[[Path], None], what: str) -> Snapshot:
    """Return a snapshot of the file that ``write`` creates at the given path; raise what ``write`` raises."""
    taken = Snapshot(what, "rendered", 0)

    def fill(path: Path) -> None:
        write(path)
        taken.size = path.stat().st_size

    return _spooled_as(session, taken, fill)


def _spooled_as(session: Session, taken: Snapshot, fill: Callable[[Path], None]) -> Snapshot:
    """Create the entry under a temporary name, and rename it once it is complete."""
    root, config = session.spool, session.config
    limit = config.spool_limit_bytes if config.mode == "online" else None
    taken.lost = None if taken.how == "move" else _why_not(root, taken.size, limit)
    if taken.lost is None:
        folder = root / session.id.hex()
        temporary = folder / f"{TEMPORARY_PREFIX}{taken.token}"
        try:
            private_folder(root)
            folder.mkdir(mode=0o700, exist_ok=True)
            if config.collector is not None:
                spool.address(folder, config.collector)
            fill(temporary)
            taken._path = folder / taken.token
            os.rename(temporary, taken._path)
        except BaseException as error:
            with contextlib.suppress(OSError):
                spool.remove(temporary)
            if not isinstance(error, OSError) or error.errno not in os_support.NO_ROOM:
                raise
            taken.lost = "disk_full"
    if taken.lost is not None:
        text = "artifact %s (%d bytes) of run %s is lost: %s; the training continues without it"
        warn(text, taken.source, taken.size, session.run.name, taken.lost)
    return taken


def _why_not(root: Path, size: int, limit: int | None) -> str | None:
    """Return why the spool cannot take ``size`` bytes: ``spool_full`` or ``disk_full``; None if it can."""
    measured_s, known = _spooled.get(root, (-MEASURE_EVERY_S, 0))
    now = time.monotonic()
    if limit is not None:
        if now - measured_s >= MEASURE_EVERY_S or known + size > limit:
            measured_s, known = now, spool.size_bytes(root)
        if known + size > limit:
            return "spool_full"
    existing = root
    while not existing.exists():
        existing = existing.parent
    free, reserve = os_support.free_and_reserve(existing)
    if free - size < reserve:
        return "disk_full"
    _spooled[root] = measured_s, known + size
    return None


def _regular(path: str) -> os.stat_result:
    fd = open_regular(path, follow=True)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _take_file(source: str, target: Path, *, move: bool) -> tuple[str, int]:
    """Put the bytes of ``source`` into the new file ``target``; return the method and the number of bytes."""
    fd = open_regular(source, follow=True)
    try:
        before = os.fstat(fd)
        if move and _linked(source, target):
            return "move", before.st_size
        mode = 0o700 if before.st_mode & 0o111 else 0o600
        target_fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            how, size = clone_or_copy(fd, target_fd)
        finally:
            os.close(target_fd)
        after = os.fstat(fd)
        if size < before.st_size:
            raise SourceChangedError(source, _described(before), _described(after))
    finally:
        os.close(fd)
    if identity(before) != identity(after):
        _check_grown(source, target, before)
    return "move" if move else how, size


def _check_grown(source: str, taken: Path, before: os.stat_result) -> None:
    """Return if the source has only grown since ``before``, so that what was taken is its beginning.

    Raises:
        SourceChangedError: it changed in another way.
    """
    with contextlib.ExitStack() as opened:
        fds = []
        for path in (source, taken):
            try:
                fds.append(open_regular(path, follow=True))
            except FileNotFoundError:
                raise SourceChangedError(source, _described(before), "nothing") from None
            opened.callback(os.close, fds[-1])
        now = os.fstat(fds[0])
        grown = now.st_ino == before.st_ino and now.st_size > before.st_size
        if not grown or not begins_with(fds[0], fds[1]):
            raise SourceChangedError(source, _described(before), _described(now))


def _linked(source: str, target: Path) -> bool:
    """Hard-link the source into the spool; return False if the file system cannot.

    Not renamed: if the process is killed before the event is out, the file must still be at its path.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in os_support.NO_ROOM:
            raise
        return False
    return True


def _described(found: os.stat_result) -> str:
    written = time.strftime("%H:%M:%S", time.localtime(found.st_mtime_ns // 10**9))
    return f"{found.st_size} bytes written at {written}.{found.st_mtime_ns // 10**6 % 1000:03d}"


def _places_of(session: Session) -> list[Path]:
    """Return the folders that grow while an artifact is taken: the runs, and what waits for the collector."""
    return [Path(place).resolve() for place in (session.base_dir, session.state_folder.root, session.spool)]


def _list(folder: str, without: Sequence[Path] = ()) -> dict[str, os.stat_result]:
    """Return the files below a folder by relative path, sorted; raise as :func:`take`.

    Args:
        folder: itself is listed in any case.
        without: resolved paths of folders that are left out, with all that is in them.
    """
    root = Path(folder).resolve()
    found: dict[str, os.stat_result] = {}
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(os.path.join(folder, inside)) as entries:
            for entry in entries:
                relative = os.path.join(inside, entry.name)
                try:
                    relative.encode()
                except UnicodeEncodeError:
                    raise InvalidNameError("file name", ascii(relative), "is no UTF-8") from None
                if entry.is_dir(follow_symlinks=False):
                    if root / relative not in without:
                        pending.append(relative)
                elif entry.is_dir():
                    raise OSError(errno.ELOOP, "a link to a folder inside a folder is not followed", entry.path)
                else:
                    found[relative] = _regular(entry.path)
                if len(found) > MAX_FILES:
                    raise ValueError(f"{folder} has more than {MAX_FILES:,} files; pack them into one")
    if not found:
        raise ValueError(f"{folder} holds no file; log a folder that does")
    return dict(sorted(found.items()))
