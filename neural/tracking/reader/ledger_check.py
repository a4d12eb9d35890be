"""What ``run.json`` and the ledgers vouch for, held against the files that are there.

Counting numbers cannot see everything: a note that went leaves no hole, and with a ledger goes the only
witness of how far a session came. So a file that is gone, is shorter than it was made durable, or is
another run's is told here. A live run passes: ledgers are read before the files, files only grow, and a
ledger is written before anything it vouches for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from neural.tracking.errors import FormatError
from neural.tracking.formats import segment
from neural.tracking.formats.ledgers import Ledger
from neural.tracking.formats.run_file import RUN_FILE, RunFile

_OWNED = re.compile(r"(?:events|tail|part)-([0-9a-f]{8})[-.].*")


def contradictions(folder: Path, claims: Mapping[str, Ledger]) -> Iterator[str]:
    """Yield what is not as claimed, a line each; ``claims`` were read before, by collector.

    Raises:
        OSError: the folder cannot be read.
    """
    run, owned = RunFile.read(folder), owners(folder)
    if run is None and owned:  # where nothing is stored yet, there is nothing to know the owner of
        gone = not (folder / RUN_FILE).exists()
        yield f"{RUN_FILE}: is missing" if gone else f"{RUN_FILE}: does not say whose run this is"
    for collector, ledger in claims.items():
        if run is not None and ledger.uid and ledger.uid != run.uid.hex():
            yield f"ledger-{collector}.json: is run {ledger.uid[:8]}'s, {RUN_FILE} says {run.uid.hex()[:8]}"
        yield from shortened_lines(folder / f"events-{collector}.jsonl", ledger.events_bytes)
        yield from _tail(folder / "metrics" / f"tail-{collector}.seg", ledger)
    for collector, name in sorted(owned.items()):
        path = folder / f"ledger-{collector}.json"
        if collector not in claims and not path.exists():
            yield f"{path.name}: is missing, and so what vouches for {name}"


def shortened_lines(path: Path, vouched: int) -> Iterator[str]:
    """Yield what is wrong with an events file of which so many bytes were durable; raises OSError."""
    if not vouched:
        return
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            last = os.pread(file.fileno(), 1, vouched - 1)
    except FileNotFoundError:
        yield f"{path.name}: is missing"
        return
    if size < vouched:
        yield f"{path.name}: has {size} bytes, {vouched} were durable"
    elif last != b"\n":  # what ends the file without a newline is no append under way
        yield f"{path.name}: the last of {vouched} durable bytes does not end a line"


def _tail(path: Path, ledger: Ledger) -> Iterator[str]:
    if not ledger.tail_uuid:
        return
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            uuid = segment.read_header(file.read(segment.HEADER_BYTES)).uuid
    except FileNotFoundError:
        yield f"{path.name}: is missing"
        return
    except FormatError as error:
        yield f"{path.name}: {error}"
        return
    # Another identity: the tail was compacted after the ledger was read.
    if uuid.hex() == ledger.tail_uuid and size < ledger.tail_bytes:
        yield f"{path.name}: has {size} bytes, {ledger.tail_bytes} were durable"


def owners(folder: Path) -> dict[str, str]:
    """Return the collectors whose files are here, each with the name of one of them."""
    found: dict[str, str] = {}
    for place in (folder, folder / "metrics"):
        for name in sorted(os.listdir(place)) if place.is_dir() else ():
            if (named := _OWNED.fullmatch(name)) and not name.endswith(".tmp"):
                found.setdefault(named[1], name)
    return found
