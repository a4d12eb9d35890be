"""The daemon's own log file of bounded size, for people."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_BYTES, BACKUPS = 4 << 20, 2


@contextlib.contextmanager
def to_file(path: Path, *, also_stderr: bool = False) -> Iterator[None]:
    """Write this package's log records to a rotating file while the context lasts. Blocks briefly."""
    logging.raiseExceptions = False  # a full disk must not fill stderr as well
    handlers: list[logging.Handler] = [_file_handler(path)]
    if also_stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
    form = logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    root = logging.getLogger()
    for handler in handlers:
        handler.setFormatter(form)
        root.addHandler(handler)
    before, root.level = root.level, logging.INFO
    try:
        yield
    finally:
        root.level = before
        for handler in handlers:
            root.removeHandler(handler)
            with contextlib.suppress(OSError):  # the last records had no space
                handler.close()


def _file_handler(path: Path) -> logging.Handler:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.close(descriptor)
        return logging.handlers.RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=BACKUPS)
    except OSError:  # the disk is full or read-only: the daemon works without its log file
        return logging.StreamHandler(sys.stderr)
