"""Edits ``config.toml`` and keeps comments, order and blank lines unchanged."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural.tracking.core import os_support
from neural.tracking.core.files import atomic_write
from neural.tracking.errors import ConfigError

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

HEAD = "# Settings of this folder of runs; `ntrack sinks` edits [sinks.*] and keeps everything else.\n"


def edit(base_dir: Path, change: Callable[[TOMLDocument], None]) -> None:
    """Apply ``change`` to the file of ``base_dir``, which is created if missing. Does not wait for the lock.

    If ``change`` raises, the file remains unchanged.

    Raises:
        ConfigError: it is not valid TOML, or another command is editing it.
        OSError: it cannot be written.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    path = base_dir / ".ntrack" / "config.toml"
    base_dir.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with _exclusively(path.with_suffix(".lock")):
        before = path.read_bytes() if path.exists() else HEAD.encode()
        try:
            document = tomlkit.parse(before.decode())
        except (TOMLKitError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML: {error}; correct it first") from error
        change(document)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        atomic_write(path, tomlkit.dumps(document).encode(), mode=mode)


@contextlib.contextmanager
def _exclusively(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not os_support.lock_exclusively(fd):
            raise ConfigError(f"{path.with_suffix('.toml')} is being edited by another command; try again")
        yield
    finally:
        os.close(fd)


def set_sink(base_dir: Path, name: str, values: Mapping[str, Any]) -> None:
    """Set keys of ``[sinks.<name>]``, which is created if missing; raises like :func:`edit`."""
    import tomlkit

    def change(document: TOMLDocument) -> None:
        sinks = document.setdefault("sinks", tomlkit.table(is_super_table=True))
        table = sinks.get(name)
        if table is None:
            table = sinks[name] = tomlkit.table()
        for key, value in values.items():
            table[key] = value

    edit(base_dir, change)


def remove_sink(base_dir: Path, name: str) -> bool:
    """Remove ``[sinks.<name>]``; return whether it existed. Raises like :func:`edit`."""
    found = False

    def change(document: TOMLDocument) -> None:
        nonlocal found
        sinks = document.get("sinks")
        if sinks is not None and name in sinks:
            found = True
            sinks.remove(name)

    edit(base_dir, change)
    return found
