"""Warnings and tracebacks, without paying for ``logging`` and ``traceback`` before there is one to give."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any

from neural.tracking.core import fork_lock

MAX_TRACEBACK_BYTES = 64 << 10


def warn(text: str, *values: Any, with_traceback: bool = False) -> None:
    """Log a warning as ``neural.tracking``; what the program's own handlers raise stops nothing here."""
    with fork_lock.held_off:
        import logging

    with contextlib.suppress(Exception):
        logging.getLogger("neural.tracking").warning(text, *values, exc_info=with_traceback)


def traceback_text(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> str:
    """Return the traceback as text, its middle cut out where it is over 64 KiB."""
    import traceback

    text = "".join(traceback.format_exception(kind, error, trace))
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > MAX_TRACEBACK_BYTES:
        half = MAX_TRACEBACK_BYTES // 2 - 16
        data = data[:half] + b"\n... [cut] ...\n" + data[-half:]
    return data.decode("utf-8", "replace")
