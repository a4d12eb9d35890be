"""Where everything of one ``base_dir`` lies on this host: the state folder and its entries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from neural.tracking.core import os_support, ownership
from neural.tracking.core.files import atomic_write
from neural.tracking.errors import ConfigError

MAX_SOCKET_PATH_BYTES = 100  # sun_path holds 108, libzmq and its temporary names want some


class State(NamedTuple):
    """Paths only; nothing is made or opened before a method says so.

    ``root`` is ``<base_dir>/.ntrack`` on a local file system, else a folder below ``/var/tmp``.
    """

    base_dir: Path
    root: Path

    @classmethod
    def for_base_dir(cls, base_dir: Path | str) -> State:
        """Return the paths for this ``base_dir``, which need not exist yet; asks the file system its type.

        Raises:
            ConfigError: ``NTRACK_STATE_DIR`` or ``NTRACK_FS`` cannot be used.
        """
        base = Path(os.path.abspath(base_dir))
        if moved := os.environ.get("NTRACK_STATE_DIR"):
            return cls(base_dir=base, root=_moved_root(moved) / _digest(base))
        existing = base
        while not existing.exists():
            existing = existing.parent
        if os_support.file_system(existing)[1]:
            return cls(base_dir=base, root=base / ".ntrack")
        return cls(base_dir=base, root=_private_root("/var/tmp") / _digest(base))

    def make(self) -> None:
        """Create the state folder, private to its user.

        Raises:
            OSError: it cannot be made.
            ConfigError: it, or what it stands in, is there, but a symbolic link or another user's.
        """
        self.refuse_others()
        for folder in self._ours():
            private_folder(folder)
        private_folder(self.root)
        if self.root.parent != self.base_dir:
            beside = self.base_dir / ".ntrack"  # settings, keys, blobs
            beside.mkdir(mode=0o700, exist_ok=True)
            ownership.take_write_from_others(beside)
            if (reason := ownership.why_not_trusted(beside)) is not None:
                raise ConfigError(reason)

    def refuse_others(self) -> None:
        """Raise ConfigError where a folder that is to be this user's own is somebody else's."""
        if (reason := self.others()) is not None:
            raise ConfigError(reason)

    def others(self) -> str | None:
        """Return why what lies here is not to be believed, and what to do; None where it is this user's own.

        Anybody may make a folder in ``/var/tmp`` or ``/tmp``, also after one of ours was cleared away.
        """
        sockets, moved = self.data_socket.parent, self.root.parent
        if moved not in (self.base_dir, *self._ours()) and ownership.is_world_writable(moved):
            return f"{moved} may be written to by all, who could replace what is in it: `chmod o-w {moved}`"
        for folder in (*self._ours(), self.root):
            if (reason := ownership.why_not_own(folder)) is not None:
                return f"{reason}; remove it, or choose another place: {self._remedy()}"
        for folder in (sockets.parent, sockets) if sockets != self.root else ():
            if (reason := ownership.why_not_own(folder)) is not None:
                remedy = "remove it, or use a base_dir with a shorter path"
                return f"{reason}, and the sockets would be there; {remedy}"
        return None

    def _ours(self) -> tuple[Path, ...]:
        """Return the folders above the root that are made by us, and nobody else's business."""
        own = _private_root("/var/tmp")
        return (own,) if self.root.parent == own else ()

    def _remedy(self) -> str:
        return "another base_dir" if self.root.parent == self.base_dir else "set NTRACK_STATE_DIR"

    @property
    def lock(self) -> Path:
        return self.root / "collector.lock"

    @property
    def launch_lock(self) -> Path:
        return self.root / "launch.lock"

    @property
    def endpoint_file(self) -> Path:
        return self.root / "endpoint.json"

    @property
    def daemon_log(self) -> Path:
        return self.root / "collector.log"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def cursors(self) -> Path:
        return self.root / "cursors"

    @property
    def outbox(self) -> Path:
        return self.root / "outbox"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def artifact_jobs(self) -> Path:
        return self.root / "artifact-jobs"

    @property
    def blobs(self) -> Path:
        return self.base_dir / ".ntrack" / "blobs"

    @property
    def remote_outbox(self) -> Path:
        """Outboxes whose events go to a collector on another host: no collector here adopts them."""
        return self.root / "remote-outbox"

    @property
    def remote_spool(self) -> Path:
        """Snapshots of artifacts whose bytes go to a collector on another host."""
        return self.root / "remote-spool"

    @property
    def courier_lock(self) -> Path:
        return self.root / "courier.lock"

    @property
    def courier_log(self) -> Path:
        return self.root / "courier.log"

    @property
    def keys(self) -> Path:
        return self.base_dir / ".ntrack" / "keys"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def strays(self) -> Path:
        return self.root / "strays.json"

    @property
    def pictures_due(self) -> Path:
        return self.root / "pictures-due.json"

    @property
    def config_file(self) -> Path:
        return self.base_dir / ".ntrack" / "config.toml"

    @property
    def tombstones(self) -> Path:
        return self.base_dir / ".ntrack" / "tombstones"

    @property
    def data_socket(self) -> Path:
        return self._socket("collector.sock")

    @property
    def control_socket(self) -> Path:
        return self._socket("control.sock")

    def _socket(self, name: str) -> Path:
        path = self.root / name
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
            return path
        return _private_root("/tmp") / _digest(self.root) / name

    def make_socket_folder(self) -> None:
        """Create the folder of the sockets, private to its user; raises as :meth:`make`."""
        folder = self.data_socket.parent
        if folder != self.root:
            private_folder(folder.parent)
            private_folder(folder)

    def collector_runs(self) -> bool:
        """Return whether a collector, answering or suspended, owns this state folder; leaves nothing behind."""
        return os_support.is_locked(self.lock)

    def collector_id(self) -> str:
        """Return this state folder's 8 hex digits, ``<c>`` in file names; made at the first call."""
        path = self.root / "id"
        if not path.exists():
            atomic_write(path, os.urandom(4).hex().encode())
        return path.read_text().strip()


def private_folder(folder: Path) -> None:
    """Create ``folder`` with mode 0700, or check that it is the user's own; raises as State.make."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        status = folder.lstat()
        if (reason := ownership.why_not_own(folder)) is not None:
            raise ConfigError(f"{reason}; remove it or choose another base_dir") from None
        if not folder.is_dir():
            raise NotADirectoryError(20, "not a folder", str(folder)) from None
        if status.st_mode & 0o077:  # whoever can write here can take the collector's place, or read along
            folder.chmod(0o700)


def _moved_root(moved: str) -> Path:
    # The collector runs in another folder, and the next training may, too: each would mean its own by it.
    root = os.path.expanduser(moved)
    if not os.path.isabs(root):
        raise ConfigError(f"NTRACK_STATE_DIR is {moved!r}; it must be an absolute path")
    return Path(os.path.abspath(root))


def _digest(path: Path) -> str:
    import hashlib  # only where the state is not below base_dir, or its path is long

    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _private_root(parent: str) -> Path:
    return Path(parent) / f"ntrack-{os.geteuid()}"
