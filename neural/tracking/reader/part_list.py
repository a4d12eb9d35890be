"""Lists the parts of a ``metrics`` folder that count: those that no newer part replaces, at one moment."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from neural.tracking.errors import FormatError
from neural.tracking.formats.parts import ASIDE, Part, number_of, own_name, read_footer

KEEP_REPLACED_S = 60.0
_MAX_TRIES = 20


class Listing(NamedTuple):
    """The parts that count, and the files of replaced parts."""

    live: list[Part]
    replaced: list[Path]


def list_parts(folder: Path, damages: list[str]) -> list[Part]:
    """Return the parts of a ``metrics`` folder that count, by collector and age, oldest first.

    Appends a text to ``damages`` for each unreadable part. Blocks on the disk.

    Raises:
        FileNotFoundError: parts were removed during each of 20 tries to read the folder.
        OSError: a part cannot be read.
    """
    return scan(folder, damages).live


def scan(folder: Path, damages: list[str]) -> Listing:
    """Return the parts that count and the files of replaced parts; raises like :func:`list_parts`."""
    for _ in range(_MAX_TRIES):
        names = _names(folder)
        try:
            found, broken = _footers(folder, names)
        except FileNotFoundError:
            continue
        if _names(folder) == names:  # otherwise a merge was under way, and only half of it was read
            break
    else:
        raise FileNotFoundError(errno.ENOENT, "parts were removed while they were read", str(folder))
    replaced = {(part.collector, number) for part in found for number in part.replaces}
    live = [part for part in found if (part.collector, part.number) not in replaced]
    damages += [text for part, text in sorted(broken.items()) if part not in replaced]
    gone = [folder / name for name in names if number_of(name) in replaced]
    return Listing(sorted(live, key=lambda part: (part.collector, _order(part))), gone)


def clear_replaced(folder: Path) -> list[str]:
    """Remove the files of replaced parts. A copy that was made during a merge may contain such files.

    Does nothing if a part is damaged. Files put aside within the last minute remain for their readers.

    Returns:
        The names of the removed parts; files that cannot be removed are left out.
    """
    damages: list[str] = []
    cleared = []
    replaced = scan(folder, damages).replaced
    for path in replaced if not damages else ():
        with contextlib.suppress(OSError):
            if path == own_name(path) or time.time() - path.stat().st_ctime > KEEP_REPLACED_S:
                path.unlink()
                cleared.append(own_name(path).name)
    return cleared


def _names(folder: Path) -> list[str]:
    return sorted(name for name in (os.listdir(folder) if folder.is_dir() else ()) if number_of(name))


def _footers(folder: Path, names: Iterable[str]) -> tuple[list[Part], dict[tuple[str, int], str]]:
    """Return the parts, and a text for each part that cannot be read, by collector and number."""
    found: dict[tuple[str, int], Part] = {}
    broken: dict[tuple[str, int], str] = {}
    replaced: set[tuple[str, int]] = set()
    for name in sorted(names, key=lambda name: name.endswith(ASIDE)):
        key = number_of(name)
        # A part put aside counts only if its replacement is missing, after a power loss in between.
        if key is None or (name.endswith(ASIDE) and (key in replaced or key in found)):
            continue
        try:
            found[key] = part = read_footer(folder / name)
            replaced |= {(part.collector, number) for number in part.replaces}
        except FormatError as error:
            broken[key] = str(error)
    return list(found.values()), broken


def highest(found: Iterable[Part], collector: str | None = None) -> dict[bytes, int]:
    """Return the last number of each session in the parts, or in those of one collector."""
    last: dict[bytes, int] = {}
    for part in found:
        if collector in (None, part.collector):
            for session, (_, to) in part.sessions.items():
                last[session] = max(to, last.get(session, 0))
    return last


def _order(part: Part) -> int:
    """Return the sort key of a part among its collector's: the number of the first part that it replaces."""
    return min(part.replaces, default=part.number)
