"""Checks the names of runs, metrics, tags and artifacts in the call that uses them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from neural.tracking.errors import InvalidNameError

MAX_RUN_NAME_BYTES = 200
MAX_METRIC_NAME_BYTES = 256
MAX_ARTIFACT_NAME_BYTES = 200  # leaves room for a prefix and a suffix on every file system
# Without the line separators: a set with characters beyond Latin-1 takes 0.4 ms to compile.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SEPARATORS = ("\u2028", "\u2029")
_RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?$")


def is_sink_name(value: object) -> bool:
    """Return whether a sink may have this name: up to 40 lower-case letters, digits, ``_`` and ``-``."""
    return isinstance(value, str) and re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", value) is not None


def is_hex_id(value: object) -> bool:
    """Return whether the value is 32 hex digits, as sessions and tokens are, and so safe as a file's name."""
    return isinstance(value, str) and len(value) == 32 and not value.strip("0123456789abcdef")


def check_run_name(name: str) -> str:
    """Return ``name`` if it can be the first part of a folder's name on every file system.

    Raises:
        TypeError: not text.
        InvalidNameError: empty, over 200 bytes of UTF-8, with a path separator or a control character, with a
            dot or a space at its beginning or end, or the name of a device.
    """
    _check_file_name("experiment name", name, MAX_RUN_NAME_BYTES)
    if name[0] in ". ":
        raise InvalidNameError("experiment name", name, "may not begin or end with a dot or a space")
    return name


def check_artifact_name(name: str) -> str:
    """Return ``name`` in composed form (NFC) if it is a valid file name on every file system.

    Composed, because some file systems treat two encodings of a letter as one, and others do not.

    Raises:
        TypeError: not text.
        InvalidNameError: as for a run's name; a leading dot is allowed, but not ``.tmp-`` or ``.nfs``.
    """
    _check_file_name("artifact name", name, MAX_ARTIFACT_NAME_BYTES)
    composed = unicodedata.normalize("NFC", name)
    _check_text("artifact name", composed, MAX_ARTIFACT_NAME_BYTES)
    if composed[0] == " " or composed.startswith((".tmp-", ".nfs")):
        raise InvalidNameError("artifact name", name, "may not begin with a space, '.tmp-' or '.nfs'")
    return composed


def one_or_many(given: Any) -> Iterable[Any]:
    """Return the argument as several values: a text, or a value that is not iterable, counts as one."""
    return given if isinstance(given, Iterable) and not isinstance(given, str | bytes) else (given,)


def metric_names_of(given: Any) -> list[str] | None:
    """Return the requested metric names, None for all; raise TypeError if one is not text."""
    if given is None:
        return None
    names = list(one_or_many(given))
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a metric's name must be text, not {type(name).__name__}: {name!r}")
    return names


def check_alias(alias: object) -> str:
    """Return ``alias`` if it is a valid tag and does not look like a version's number; raise as check_tag."""
    checked = check_tag(alias, "alias")
    if re.fullmatch(r"[vV]?-?\d+", checked):
        raise InvalidNameError("alias", checked, "looks like a version's number")
    return checked


def _check_file_name(what: str, name: object, limit_bytes: int) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{what} must be text, not {type(name).__name__}")
    if not name.strip():
        raise InvalidNameError(what, name, "is empty")
    _check_text(what, name, limit_bytes)
    if bad := re.search(r"[/\\]", unicodedata.normalize("NFKC", name)):
        raise InvalidNameError(what, name, f"may not hold {bad.group()!r}, in any of its forms")
    if name[-1] in ". ":
        raise InvalidNameError(what, name, "may not begin or end with a dot or a space")
    if _RESERVED.match(name):
        raise InvalidNameError(what, name, "is reserved for a device")


def check_metric_name(name: object) -> str:
    """Return ``name`` if it can name a metric: any text without control characters, up to 256 bytes.

    Raises:
        TypeError: not text.
        InvalidNameError: empty, over 256 bytes of UTF-8, or with a control character.
    """
    if not isinstance(name, str):
        raise TypeError(f"metric name must be text, not {type(name).__name__}: {name!r}")
    if not name:
        raise InvalidNameError("metric name", name, "is empty")
    _check_text("metric name", name, MAX_METRIC_NAME_BYTES)
    return name


def check_tag(tag: object, what: str = "tag") -> str:
    """Return ``tag`` if it is a non-empty text of at most 256 bytes; raise as check_metric_name."""
    if not isinstance(tag, str):
        raise TypeError(f"{what} must be text, not {type(tag).__name__}: {tag!r}")
    if not tag.strip():
        raise InvalidNameError(what, tag, "is empty")
    _check_text(what, tag, MAX_METRIC_NAME_BYTES)
    return tag


def _check_text(what: str, name: str, limit_bytes: int) -> None:
    bad = _CONTROL.findall(name) or [char for char in _SEPARATORS if char in name]
    if bad:
        raise InvalidNameError(what, name, f"has the control character {bad[0]!r}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:  # a lone surrogate, for one from a path that is not text
        raise InvalidNameError(what, name, f"has the control character {name[error.start]!r}") from None
    if size > limit_bytes:
        raise InvalidNameError(what, name, f"is {size} bytes long, over the limit of {limit_bytes} bytes")
