"""Copies of files: the same bytes, the same holes."""

import os

import pytest

from neural.tracking.core import os_support
from neural.tracking.core.copying import clone_or_copy

MIB = 1 << 20


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Copy what a function makes, in the way that shares no blocks; return (source, target, how, size)."""
    monkeypatch.setattr(os_support, "reflink", lambda *fds: False)

    def copy(make, progress=lambda count: None):
        source, target = tmp_path / "source", tmp_path / "target"
        with source.open("wb") as file:
            make(file)
        with source.open("rb") as whole, target.open("wb") as empty:
            how, size = clone_or_copy(whole.fileno(), empty.fileno(), progress)
        return source, target, how, size

    return copy


def on_disk(path):
    return path.stat().st_blocks * 512


def holes(file):
    file.truncate(64 * MIB)
    for at in (3 * MIB, 20 * MIB + 5):
        file.seek(at)
        file.write(b"data" * 1000)


def hole_at_the_end(file):
    file.write(b"data" * 1000)
    file.truncate(64 * MIB)


@pytest.mark.parametrize(
    "make",
    [holes, hole_at_the_end, lambda file: file.truncate(64 * MIB), lambda file: file.write(b"dense" * MIB)],
)
def test_copy_has_the_same_bytes_and_takes_no_more_disk(copied, make):
    seen = []

    source, target, how, size = copied(make, seen.append)

    assert (how, size) == ("copy", source.stat().st_size)
    assert target.read_bytes() == source.read_bytes()
    assert on_disk(target) <= on_disk(source) + MIB
    assert sum(seen) == size


def test_file_system_without_holes_copies_all(copied, monkeypatch):
    def refuse(fd, at, whence, seek=os.lseek):
        if whence in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(22, "no such seek")
        return seek(fd, at, whence)

    monkeypatch.setattr(os, "lseek", refuse)

    source, target, _, size = copied(holes)

    assert size == 64 * MIB
    assert target.read_bytes() == source.read_bytes()


def test_file_that_shrinks_meanwhile_is_copied_as_far_as_it_is_there(copied, monkeypatch, tmp_path):
    def copy_and_cut(source_fd, target_fd, count, copy=os_support.copy_piece):
        os.truncate(tmp_path / "source", 5 * MIB)
        return copy(source_fd, target_fd, count)

    monkeypatch.setattr(os_support, "copy_piece", copy_and_cut)

    *_, size = copied(lambda file: file.write(bytes(range(256)) * 4 * 40_000))

    assert size == 5 * MIB
