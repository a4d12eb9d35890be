"""Warnings and tracebacks; imports ``logging`` and ``traceback`` only when they are needed."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any

from neural.tracking.core import fork_lock

MAX_TRACEBACK_BYTES = 64 << 10


def warn(text: str, *values: Any, with_traceback: bool = False) -> None:
    """Log a warning of ``neural.tracking``; exceptions of the program's own log handlers are ignored."""
    with fork_lock.held_off:
        import logging

    with contextlib.suppress(Exception):
        logging.getLogger("neural.tracking").warning(text, *values, exc_info=with_traceback)


def traceback_text(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> str:
    """Return the traceback as text; over 64 KiB, its middle is cut out."""
    import traceback

    text = "".join(traceback.format_exception(kind, error, trace))
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > MAX_TRACEBACK_BYTES:
        half = MAX_TRACEBACK_BYTES // 2 - 16
        data = data[:half] + b"\n... [cut] ...\n" + data[-half:]
    return data.decode("utf-8", "replace")
