"""Which parts of a ``metrics`` folder count: those that no newer part replaces, as they are at one moment."""

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
    """The parts that count, oldest first, and the files of those that a newer part replaces."""

    live: list[Part]
    replaced: list[Path]


def list_parts(folder: Path, damages: list[str]) -> list[Part]:
    """Return the parts of a ``metrics`` folder that count, oldest first; unreadable ones go to ``damages``.

    Raises:
        FileNotFoundError: parts went while the folder was being read, every time.
    """
    return look(folder, damages).live


def look(folder: Path, damages: list[str]) -> Listing:
    """Return the parts that count and the files of those that do not any more; raises as list_parts."""
    for _ in range(_MAX_TRIES):
        names = _names(folder)
        try:
            found, broken = _footers(folder, names)
        except FileNotFoundError:
            continue
        if _names(folder) == names:  # or a merge was under way, and what was read is half of it
            break
    else:
        raise FileNotFoundError(errno.ENOENT, "parts went while they were read", str(folder))
    replaced = {(part.collector, number) for part in found for number in part.replaces}
    live = [part for part in found if (part.collector, part.number) not in replaced]
    damages += [told for whose, told in sorted(broken.items()) if whose not in replaced]
    gone = [folder / name for name in names if number_of(name) in replaced]
    return Listing(sorted(live, key=lambda part: (part.collector, _order(part))), gone)


def clear_replaced(folder: Path) -> list[str]:
    """Remove the files of replaced parts, as a copy of a run has them that was made while parts were merged.

    Call it only where nothing is damaged. Those put aside within the last minute stay for who reads them.

    Returns:
        Their names; of none where the folder may not be written to.
    """
    damages: list[str] = []
    cleared = []
    replaced = look(folder, damages).replaced
    for path in replaced if not damages else ():
        with contextlib.suppress(OSError):
            if path == own_name(path) or time.time() - path.stat().st_ctime > KEEP_REPLACED_S:
                path.unlink()
                cleared.append(own_name(path).name)
    return cleared


def _names(folder: Path) -> list[str]:
    return sorted(name for name in (os.listdir(folder) if folder.is_dir() else ()) if number_of(name))


def _footers(folder: Path, names: Iterable[str]) -> tuple[list[Part], dict[tuple[str, int], str]]:
    """Return the parts, and what is wrong with those that cannot be read."""
    found: dict[tuple[str, int], Part] = {}
    broken: dict[tuple[str, int], str] = {}
    replaced: set[tuple[str, int]] = set()
    for name in sorted(names, key=lambda name: name.endswith(ASIDE)):
        whose = number_of(name)
        # One that was put aside counts only where its replacement is not there: the power went between.
        if whose is None or (name.endswith(ASIDE) and (whose in replaced or whose in found)):
            continue
        try:
            found[whose] = part = read_footer(folder / name)
            replaced |= {(part.collector, number) for number in part.replaces}
        except FormatError as error:
            broken[whose] = str(error)
    return list(found.values()), broken


def highest(found: Iterable[Part], collector: str | None = None) -> dict[bytes, int]:
    """Return up to which number each session is in the parts, or in those of one collector."""
    last: dict[bytes, int] = {}
    for part in found:
        if collector in (None, part.collector):
            for session, (_, to) in part.sessions.items():
                last[session] = max(to, last.get(session, 0))
    return last


def _order(part: Part) -> int:
    """Return the place of a part among its collector's: that of the first part it replaces."""
    return min(part.replaces, default=part.number)
