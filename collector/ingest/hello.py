"""What a HELLO must hold to be taken, and what can be read of one in another form."""

from __future__ import annotations

import contextlib
from typing import Any

from neural.tracking.core.names import check_run_name
from neural.tracking.errors import FormatError, ProtocolError
from neural.tracking.formats import wire
from neural.tracking.formats.events import unpack_map


def head_of_any_form(part: bytes) -> dict[str, Any]:
    """Return a head's map; another protocol's may come without the checksum. Empty where it is damaged."""
    try:
        return wire.unpack_head(part)
    except ProtocolError:
        with contextlib.suppress(FormatError):
            return unpack_map(part[: wire.MAX_HEAD_BYTES])
    return {}


def unfit(hello: wire.Hello) -> str:
    """Return why a HELLO's description cannot be used, empty if it can."""
    name = hello.info.get("name")
    if not isinstance(name, str):
        return "info must hold the run's name"
    try:
        check_run_name(name)
    except ValueError as error:
        return str(error)
    if hello.info.get("dir") != f"{name}_{hello.uid.hex()[:8]}":
        return "info must hold the run's folder, its name and the first 8 digits of its uid"
    return ""
