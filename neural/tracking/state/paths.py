"""The paths of everything that belongs to one ``base_dir`` on this host: the state folder and its entries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from neural.tracking.core import os_support, ownership
from neural.tracking.core.files import atomic_write
from neural.tracking.errors import ConfigError

MAX_SOCKET_PATH_BYTES = 100  # sun_path holds 108; libzmq needs some for its temporary names


class State(NamedTuple):
    """The paths of one state folder. Properties only return a path and never touch the disk.

    ``root`` is ``<base_dir>/.ntrack`` on a local file system, else a folder below ``/var/tmp``.
    """

    base_dir: Path
    root: Path

    @classmethod
    def for_base_dir(cls, base_dir: Path | str) -> State:
        """Return the paths for this ``base_dir``, which need not exist yet; reads the type of its file system.

        Raises:
            ConfigError: ``NTRACK_STATE_DIR`` or ``NTRACK_FS`` has an invalid value.
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
        """Create the state folder, private to this user. Blocks briefly on the disk.

        Raises:
            OSError: it cannot be created.
            ConfigError: it, or a folder above it, is a symbolic link or belongs to another user.
        """
        self.check_own()
        for folder in self._own_folders():
            private_folder(folder)
        private_folder(self.root)
        if self.root.parent != self.base_dir:
            beside = self.base_dir / ".ntrack"  # settings, keys, blobs
            beside.mkdir(mode=0o700, exist_ok=True)
            ownership.take_write_from_others(beside)
            if (reason := ownership.why_not_trusted(beside)) is not None:
                raise ConfigError(reason)

    def check_own(self) -> None:
        """Raise ConfigError if a folder that must be this user's own belongs to another user."""
        if (reason := self.not_own_reason()) is not None:
            raise ConfigError(reason)

    def not_own_reason(self) -> str | None:
        """Return why the state folder cannot be trusted, with a remedy; None if it is this user's own.

        Any user may create a folder in ``/var/tmp`` or ``/tmp``, also after a cleanup removed ours.
        """
        sockets, moved = self.data_socket.parent, self.root.parent
        if moved not in (self.base_dir, *self._own_folders()) and ownership.is_world_writable(moved):
            return f"all users can write to {moved} and replace its content: `chmod o-w {moved}`"
        for folder in (*self._own_folders(), self.root):
            if (reason := ownership.why_not_own(folder)) is not None:
                return f"{reason}; remove it, or choose another place: {self._remedy()}"
        for folder in (sockets.parent, sockets) if sockets != self.root else ():
            if (reason := ownership.why_not_own(folder)) is not None:
                remedy = "remove it, or use a base_dir with a shorter path"
                return f"{reason}, and the sockets would be there; {remedy}"
        return None

    def _own_folders(self) -> tuple[Path, ...]:
        """Return the folders above the root that this package creates."""
        own = _private_root("/var/tmp")
        return (own,) if self.root.parent == own else ()

    def _remedy(self) -> str:
        return "another base_dir" if self.root.parent == self.base_dir else "set NTRACK_STATE_DIR"

    @property
    def lock(self) -> Path:
        """The collector's lock file; its content describes the holder."""
        return self.root / "collector.lock"

    @property
    def launch_lock(self) -> Path:
        """The lock file of the process that is starting a collector."""
        return self.root / "launch.lock"

    @property
    def endpoint_file(self) -> Path:
        """The file with the collector's addresses."""
        return self.root / "endpoint.json"

    @property
    def daemon_log(self) -> Path:
        """The text log of the collector, for people."""
        return self.root / "collector.log"

    @property
    def log(self) -> Path:
        """The folder of the collector's log segments."""
        return self.root / "log"

    @property
    def cursors(self) -> Path:
        """The folder of the workers' cursors, one file for each."""
        return self.root / "cursors"

    @property
    def outbox(self) -> Path:
        """The folder of outboxes whose events go to the collector of this host."""
        return self.root / "outbox"

    @property
    def spool(self) -> Path:
        """The folder of snapshots that wait for the collector of this host."""
        return self.root / "spool"

    @property
    def artifact_jobs(self) -> Path:
        """The folder of artifact jobs."""
        return self.root / "artifact-jobs"

    @property
    def blobs(self) -> Path:
        """The folder of blobs; it is always inside ``base_dir``."""
        return self.base_dir / ".ntrack" / "blobs"

    @property
    def remote_outbox(self) -> Path:
        """The folder of outboxes whose events go to a collector on another host; only a courier takes them."""
        return self.root / "remote-outbox"

    @property
    def remote_spool(self) -> Path:
        """The folder of snapshots whose bytes go to a collector on another host."""
        return self.root / "remote-spool"

    @property
    def courier_lock(self) -> Path:
        """The courier's lock file."""
        return self.root / "courier.lock"

    @property
    def courier_log(self) -> Path:
        """The text log of the courier."""
        return self.root / "courier.log"

    @property
    def keys(self) -> Path:
        """The folder of the collector's keys; it is always inside ``base_dir``."""
        return self.base_dir / ".ntrack" / "keys"

    @property
    def quarantine(self) -> Path:
        """The folder of quarantined runs, one folder for each."""
        return self.root / "quarantine"

    @property
    def strays(self) -> Path:
        """The record of events in the log whose run is unknown."""
        return self.root / "strays.json"

    @property
    def plots_due(self) -> Path:
        """The visualizer's record of due plots."""
        return self.root / "pictures-due.json"

    @property
    def config_file(self) -> Path:
        """The user's configuration of this ``base_dir``."""
        return self.base_dir / ".ntrack" / "config.toml"

    @property
    def tombstones(self) -> Path:
        """The folder of tombstones; it is always inside ``base_dir``."""
        return self.base_dir / ".ntrack" / "tombstones"

    @property
    def data_socket(self) -> Path:
        """The socket for senders; below ``/tmp`` if its path in the state folder is too long."""
        return self._socket("collector.sock")

    @property
    def control_socket(self) -> Path:
        """The socket for commands; below ``/tmp`` if its path in the state folder is too long."""
        return self._socket("control.sock")

    def _socket(self, name: str) -> Path:
        path = self.root / name
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
            return path
        return _private_root("/tmp") / _digest(self.root) / name

    def make_socket_folder(self) -> None:
        """Create the folder of the sockets, private to this user; raises like :meth:`make`."""
        folder = self.data_socket.parent
        if folder != self.root:
            private_folder(folder.parent)
            private_folder(folder)

    def collector_runs(self) -> bool:
        """Return whether a collector, also a suspended one, holds the lock. Blocks briefly; creates no file."""
        return os_support.is_locked(self.lock)

    def collector_id(self) -> str:
        """Return the 8 hex digits of this state folder, ``<c>`` in file names; the first call creates them.

        Blocks briefly on the disk; raises OSError.
        """
        path = self.root / "id"
        if not path.exists():
            atomic_write(path, os.urandom(4).hex().encode())
        return path.read_text().strip()


def private_folder(folder: Path) -> None:
    """Create ``folder`` with mode 0700, or check that it is the user's own; raises like ``State.make``."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        status = folder.lstat()
        if (reason := ownership.why_not_own(folder)) is not None:
            raise ConfigError(f"{reason}; remove it or choose another base_dir") from None
        if not folder.is_dir():
            raise NotADirectoryError(20, "not a folder", str(folder)) from None
        if status.st_mode & 0o077:  # other users could replace the collector, or read its data
            folder.chmod(0o700)


def _moved_root(moved: str) -> Path:
    # A relative path is refused: collector and trainings may run in different working directories.
    root = os.path.expanduser(moved)
    if not os.path.isabs(root):
        raise ConfigError(f"NTRACK_STATE_DIR is {moved!r}; it must be an absolute path")
    return Path(os.path.abspath(root))


def _digest(path: Path) -> str:
    import hashlib  # needed only if the state is not below base_dir, or its path is long

    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _private_root(parent: str) -> Path:
    return Path(parent) / f"ntrack-{os.geteuid()}"
