"""The ``artifact`` event and its notes: the event describes a call, the notes its outcome."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from neural.tracking.core.names import check_artifact_name, is_hex_id
from neural.tracking.errors import InvalidNameError

KIND = "artifact"  # the kind of the event, and of the note that records its outcome
PRUNED = "artifact_pruned"  # the kind of the note that records that a version was pruned


def new_token() -> str:
    """Return a new random token, 32 hex digits: it names one artifact call in spool, event and note."""
    return os.urandom(16).hex()


def refusal(data: Mapping[str, Any]) -> str | None:
    """Return why the collector must refuse an artifact event with this data; None if it is acceptable."""
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
