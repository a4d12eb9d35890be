"""What a disk may contain after a power loss: everything that was synced, and any part of the rest.

It is as strict as POSIX allows. A synced file whose folder was not synced may have no name. After a rename that
was not synced the file may have its old name. Each page that was not synced is zero, old or new, at random. A
file that grew has any length between the synced one and the last one.
"""

import contextlib
import json
import os
from pathlib import Path

import psutil

from tests.faults.harness import Collector

PAGE = 4096


class Power:
    """Records the syncs of processes that start with :attr:`environment`; see ``power/sitecustomize.py``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._shadow = folder
        self.environment = {
            "POWER_SHADOW": str(folder),
            "POWER_BOOT_ID": "the-boot-before",
            "PYTHONPATH": str(Path(__file__).parent / "power"),
        }
        self._old: dict[int, bytes] = {}

    def look(self, base_dir: Path) -> None:
        """Remember the current content of outboxes: the disk may still have it after later writes."""
        for path in base_dir.rglob("outbox/*/*"):
            with contextlib.suppress(OSError):
                self._old[path.stat().st_ino] = path.read_bytes()

    def cut(self, base_dir: Path, trainer: psutil.Process) -> "DiskStates":
        """Kill all processes at this moment; return what makes possible states of the disk, many times."""
        collector = Collector(base_dir)
        stopped = [trainer, collector.process()]
        for process in stopped:
            if process is not None:
                process.suspend()
        workers = collector.workers()
        for process in workers:
            process.suspend()
        state = DiskStates(base_dir, self._shadow, self._old)
        for process in [*stopped, *workers]:
            if process is not None:
                Collector.end(process)
        return state


class DiskStates:
    """The files at one moment as the kernel had them, and which parts of them were synced."""

    def __init__(self, base_dir: Path, shadow: Path, old: dict[int, bytes]) -> None:
        self._root = base_dir.stat().st_ino
        self._old = old
        self._now: dict[int, dict[str, int]] = {}  # by folder: the inodes of its names
        self._content: dict[int, bytes] = {}
        self._synced_size: dict[int, int] = {}
        self._synced_names: dict[int, dict[str, int]] = {}
        self._folders = {self._root}
        for kept in shadow.iterdir():
            if kept.name.isdigit():
                self._content[int(kept.name)] = kept.read_bytes()
        self._read(base_dir)
        for line in (shadow / "record").read_text().splitlines():
            with contextlib.suppress(ValueError):  # the line was not complete
                self._learn(json.loads(line))

    def _read(self, folder: Path) -> None:
        names = self._now[folder.stat().st_ino] = {}
        for path in folder.iterdir():
            inode = path.lstat().st_ino
            if path.is_dir():
                self._folders.add(inode)
                self._read(path)
            elif path.is_file():
                self._content[inode] = path.read_bytes()
            else:
                continue  # a socket
            names[path.name] = inode

    def _learn(self, record: dict) -> None:
        inode = record["inode"]
        if "cut" in record:
            self._synced_size[inode] = min(record["cut"], self._synced_size.get(inode, 0))
        elif record["names"] is not None:
            self._folders.add(inode)
            self._synced_names[inode] = record["names"]
        else:
            self._synced_size[inode] = record["size"]

    def make(self, target: Path, rng) -> None:
        """Create in ``target`` a random possible state of the disk."""
        self._folder(self._root, target, rng)

    def _folder(self, inode: int, target: Path, rng) -> None:
        target.mkdir(mode=0o700)
        for name, found in self._names(inode, rng).items():
            if found in self._folders:
                self._folder(found, target / name, rng)
            elif found in self._content:
                (target / name).write_bytes(self._file(found, rng))
                os.chmod(target / name, 0o600)

    def _names(self, inode: int, rng) -> dict[str, int]:
        synced, now = self._synced_names.get(inode, {}), self._now.get(inode, {})
        before = {found: name for name, found in synced.items()}
        after = {found: name for name, found in now.items()}
        eager = rng.random()
        # A file has either its old name or its new one.
        written = {found: rng.random() < eager for found in before.keys() | after.keys()}
        names: dict[str, int] = {}
        for found, name in before.items():
            if not written[found] or after.get(found) == name:
                names[name] = found
        for found, name in after.items():
            if written[found]:
                names[name] = found
        return names

    def _file(self, inode: int, rng) -> bytes:
        data = bytearray(self._content[inode])
        sure = self._synced_size.get(inode, 0)
        if sure >= len(data):
            return bytes(data)
        end = rng.choice((sure, len(data), len(data), rng.randint(sure, len(data))))
        old = self._old.get(inode, b"")
        likely = rng.choice((0.0, 0.5, 0.95, 1.0))
        for start in range(sure - sure % PAGE, len(data), PAGE):
            if rng.random() > likely:
                page = old[start : start + PAGE] if rng.random() < 0.5 else b""
                lost = page.ljust(PAGE, b"\0")[: len(data) - start]
                skip = max(sure - start, 0)
                data[start + skip : start + PAGE] = lost[skip:]
        return bytes(data[:end])
