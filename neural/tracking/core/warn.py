"""Warnings of the agent, without paying for ``logging`` before there is one to give."""

from __future__ import annotations

import contextlib
from typing import Any

from neural.tracking.core import fork_lock


def warn(text: str, *values: Any, with_traceback: bool = False) -> None:
    """Log a warning as ``neural.tracking``; what the program's own handlers raise stops nothing here."""
    with fork_lock.held_off:
        import logging

    with contextlib.suppress(Exception):
        logging.getLogger("neural.tracking").warning(text, *values, exc_info=with_traceback)
