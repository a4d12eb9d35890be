"""Small, full and read-only disks in mount namespaces that only the processes of one test see."""

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

FILL_TRIES = 100  # processes of the test may write at the same time
_UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"]


def _namespaces_work():
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return False
    tried = subprocess.run([*_UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    return tried.returncode == 0


needs_namespaces = pytest.mark.skipif(
    not _namespaces_work(), reason="unshare is missing or no user namespaces are allowed here"
)


class Disk:
    """A mount at ``path``, in a namespace of its own.

    Processes started with ``[*disk.enter, ...]`` see it at ``path``; the test itself sees its files
    under :meth:`outside`.
    """

    def __init__(self, path: Path, holder_pid: int) -> None:
        self.path = path
        self._pid = holder_pid
        self.enter = [
            "nsenter", "--target", str(holder_pid), "--user", "--mount", "--preserve-credentials", "--",
        ]  # fmt: skip

    def run(self, *command: str) -> str:
        """Run a command inside; return its output."""
        return subprocess.run([*self.enter, *command], check=True, capture_output=True, text=True).stdout

    def outside(self, path: Path | None = None) -> Path:
        """Return the path by which this process reaches a path of the inside."""
        return Path(f"/proc/{self._pid}/root{path or self.path}")

    def free_bytes(self) -> int:
        found = os.statvfs(self.outside())
        return found.f_bavail * found.f_frsize

    def fill(self, *, leave_bytes: int = 0) -> Path:
        """Use all space except ``leave_bytes``; return the file that frees it again when it is unlinked."""
        ballast = self.outside() / "ballast"
        with ballast.open("ab") as file:
            for _ in range(FILL_TRIES):
                wanted = self.free_bytes() - leave_bytes
                if wanted <= 0:
                    return ballast
                try:
                    os.posix_fallocate(file.fileno(), ballast.stat().st_size, wanted)
                except OSError as error:
                    if error.errno != errno.ENOSPC:  # another process has used some of the space meanwhile
                        raise
        raise AssertionError(
            f"{self.path}: {self.free_bytes():,} bytes are free after filling it {FILL_TRIES} times"
        )

    def set_read_only(self, read_only: bool) -> None:
        """Change it between read-only and writable.

        Raises:
            subprocess.CalledProcessError: a process has a file open for writing, so the kernel refuses it.
        """
        self.run("mount", "-o", f"remount,bind,{'ro' if read_only else 'rw'}", str(self.path))


@contextlib.contextmanager
def small_disk(path: Path, size_bytes: int, *, inodes: int | None = None) -> Iterator[Disk]:
    """Mount an empty tmpfs of that size over the folder ``path``; unmount it at the end."""
    options = f"size={size_bytes},mode=0755" + (f",nr_inodes={inodes}" if inodes else "")
    with _mounted(path, ["mount", "-t", "tmpfs", "-o", options, "small-disk", str(path)]) as disk:
        yield disk


@contextlib.contextmanager
def bound_disk(path: Path, *, read_only: bool = True) -> Iterator[Disk]:
    """Mount the folder ``path`` over itself, read-only or not; the test itself can still write to it."""
    with _mounted(path, ["mount", "--bind", str(path), str(path)]) as disk:
        if read_only:
            disk.set_read_only(True)
        yield disk


@contextlib.contextmanager
def _mounted(path: Path, mount: Sequence[str]) -> Iterator[Disk]:
    path.mkdir(parents=True, exist_ok=True)
    # The holder keeps the namespace until its standard input closes, which a kill of this process does, too.
    holder = subprocess.Popen(
        [*_UNSHARE, "sh", "-c", '"$@" && echo mounted && exec cat >/dev/null', "sh", *mount],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"mounted\n":
            raise OSError(f"cannot mount over {path}: {holder.communicate()[1].decode()}")
        yield Disk(path, holder.pid)
    finally:
        holder.communicate()
