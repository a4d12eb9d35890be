"""Where snapshots wait for the collector: ``<state>/spool/<session>/<token>``, a file or a folder.

An entry is made under ``.tmp-<token>`` and renamed once it is whole; only then an event names it. So
what has its final name is whole, and what no event names once its session is over can be removed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

TEMPORARY_PREFIX = ".tmp-"
_TOKEN = re.compile(r"[0-9a-f]{32}")
_SESSION = re.compile(r"[0-9a-f]{32}")


def new_token() -> str:
    """Return what names one artifact call, in the spool, its event and its note: 32 hex digits."""
    return os.urandom(16).hex()


def is_token(value: object) -> bool:
    """Return whether ``value`` is a token, and so safe as a file's name."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def is_session(value: object) -> bool:
    """Return whether ``value`` is a session in hex, and so safe as a file's name."""
    return isinstance(value, str) and _SESSION.fullmatch(value) is not None


def size_bytes(spool: Path) -> int:
    """Return how much waits in the whole spool; what vanishes meanwhile does not count."""
    return sum(found.st_size for found in _files(spool))


def _files(folder: Path | str) -> Iterator[os.stat_result]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(entry.path)
                else:
                    yield entry.stat(follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return


def remove(path: Path) -> None:
    """Remove a file or a folder with all in it; nothing where it is gone already.

    Raises:
        OSError: something of it is left.
    """
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except OSError:  # a folder: EISDIR on Linux, EPERM elsewhere
        if path.is_symlink() or not path.is_dir():
            raise
        shutil.rmtree(path)
