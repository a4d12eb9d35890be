"""Warnings of the agent, without paying for ``logging`` before there is one to give."""

from __future__ import annotations

from typing import Any


def warn(text: str, *values: Any, with_traceback: bool = False) -> None:
    """Log a warning as ``neural.tracking``."""
    import logging

    logging.getLogger("neural.tracking").warning(text, *values, exc_info=with_traceback)
