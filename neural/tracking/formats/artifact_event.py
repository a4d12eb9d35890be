"""The ``artifact`` event and its notes: what a call says, and what the collector says became of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from neural.tracking.core.names import check_artifact_name, is_hex_id
from neural.tracking.errors import InvalidNameError

KIND = "artifact"  # of the event, and of the note that says what became of it
PRUNED = "artifact_pruned"  # of the note that says that a version was removed on purpose


def new_token() -> str:
    """Return what names one artifact call, in the spool, its event and its note: 32 hex digits."""
    return os.urandom(16).hex()


def refusal(data: Mapping[str, Any]) -> str | None:
    """Return why no job is made of what an artifact event says, None where one is."""
    try:
        check_artifact_name(data.get("name"))  # type: ignore[arg-type]
    except (TypeError, InvalidNameError) as error:
        return str(error)
    if not is_hex_id(data.get("token")) or not isinstance(data.get("how"), str):
        return "the event does not say where its bytes are"
    size, files = data.get("size"), data.get("files")
    if type(size) is not int or size < 0 or not (files is None or (type(files) is int and files > 0)):
        return f"the event has the impossible size {size!r}"
    return None
