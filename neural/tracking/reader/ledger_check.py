"""Compares the files of a run folder with ``run.json`` and the ledgers.

Counting numbers does not find everything: a lost note leaves no hole, and only a ledger shows how far a session
was stored. So this module reports a file that is missing, is shorter than its durable size, or belongs to
another run. A live run passes the check: ledgers are read before the files, files only grow, and a ledger never
lists more than is durable.
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
    """Yield a text for each contradiction; ``claims`` are the ledgers by collector, read before.

    Blocks on the disk.

    Raises:
        OSError: the folder cannot be read.
    """
    run, owned = RunFile.read(folder), owners(folder)
    if run is None and owned:  # without stored files ``run.json`` is not needed yet
        gone = not (folder / RUN_FILE).exists()
        yield f"{RUN_FILE}: is missing" if gone else f"{RUN_FILE}: does not say whose run this is"
    for collector, ledger in claims.items():
        if run is not None and ledger.uid and ledger.uid != run.uid.hex():
            yield f"ledger-{collector}.json: is of run {ledger.uid[:8]}, {RUN_FILE} says {run.uid.hex()[:8]}"
        yield from shortened_lines(folder / f"events-{collector}.jsonl", ledger.events_bytes)
        yield from _tail(folder / "metrics" / f"tail-{collector}.seg", ledger)
    for collector, name in sorted(owned.items()):
        path = folder / f"ledger-{collector}.json"
        if collector not in claims and not path.exists():
            yield f"{path.name}: is missing, so {name} cannot be checked against it"


def shortened_lines(path: Path, durable_bytes: int) -> Iterator[str]:
    """Yield a text if an events file is shorter than its durable size in a ledger; raises OSError."""
    if not durable_bytes:
        return
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            last = os.pread(file.fileno(), 1, durable_bytes - 1)
    except FileNotFoundError:
        yield f"{path.name}: is missing"
        return
    if size < durable_bytes:
        yield f"{path.name}: has {size} bytes, {durable_bytes} were durable"
    elif last != b"\n":  # durable bytes end with a newline: so this is not an append under way
        yield f"{path.name}: the last of {durable_bytes} durable bytes does not end a line"


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
    """Return the collectors that have files in a run folder, each with the name of one file."""
    found: dict[str, str] = {}
    for place in (folder, folder / "metrics"):
        for name in sorted(os.listdir(place)) if place.is_dir() else ():
            if (named := _OWNED.fullmatch(name)) and not name.endswith(".tmp"):
                found.setdefault(named[1], name)
    return found
