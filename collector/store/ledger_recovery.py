"""Finds out what the ledger does not tell: after damage, or if other collectors write to the same folder.

Everything here blocks on the disk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from neural.tracking.collector.log.items import EventBatch
from neural.tracking.collector.store.append_file import open_events
from neural.tracking.core.files import is_there
from neural.tracking.formats import event_lines, ledgers, segment
from neural.tracking.formats.event_lines import EventLine
from neural.tracking.formats.ledgers import Ledger, SessionEntry
from neural.tracking.formats.tails import Tail
from neural.tracking.reader import part_list
from neural.tracking.reader.ledger_check import owners
from neural.tracking.state.outbox_files import last_number
from neural.tracking.verify.verify import verify_run


def stored_by_others(folder: Path, collector: str) -> dict[str, int]:
    """Return up to which number other collectors stored each session in this folder.

    What their ledgers do not list is stored all the same, and counts: such a collector may have lost its state
    folder, and can then neither list it nor cut it.
    """
    last_numbers: dict[str, int] = {}
    claims = ledgers.read_all(folder, [])
    for owner in owners(folder).keys() - {collector}:
        for ledger in (claims.get(owner, Ledger()), rebuilt_ledger(folder, owner, b"")):
            for session, entry in ledger.sessions.items():
                last_numbers[session] = max(entry.last, last_numbers.get(session, 0))
    return last_numbers


def without_stored(batch: EventBatch, last: int) -> EventBatch:
    """Return the batch without the records up to number ``last``, which are stored already."""
    for record in segment.scan(batch.payload, batch.session.session, base=batch.base):
        if isinstance(record, segment.Record) and last_number(record) > last:
            rest = batch.payload[record.pos :]
            return dataclasses.replace(batch, first=last + 1, base=batch.base + record.pos, payload=rest)
    return batch


def lost_numbers(folder: Path, durable: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """Return (session, first, last) of numbers that were durable and are in no part, tail, line or gap."""
    return [
        (state.session, first, min(last, durable[state.session]))
        for state in verify_run(folder).sessions
        for first, last in state.missing
        if first <= durable.get(state.session, 0)
    ]


def rebuilt_ledger(folder: Path, collector: str, uid: bytes) -> Ledger:
    """Return a ledger that is made from the files, in place of one that cannot be read."""
    ledger = Ledger(uid=uid.hex())
    metrics = folder / "metrics"
    for part in part_list.list_parts(metrics, []):
        for session, (_, last) in part.sessions.items() if part.collector == collector else ():
            entry = ledger.sessions.setdefault(session.hex(), SessionEntry(rank=part.ranks.get(session, 0)))
            entry.last = max(entry.last, last)
    tail_file = metrics / f"tail-{collector}.seg"
    if is_there(tail_file):
        tail = Tail(tail_file.read_bytes())
        for stretch in tail.stretches({}):
            entry = ledger.sessions.setdefault(stretch.session.hex(), SessionEntry())
            entry.last = max(entry.last, stretch.last)
        for session, (_, info) in tail.infos.items():
            if session.hex() in ledger.sessions and isinstance(info.get("rank"), int):
                ledger.sessions[session.hex()].rank = info["rank"]
        ledger.tail_uuid, ledger.tail_bytes = tail.uuid.hex(), tail.end
    _add_lines(ledger, folder / f"events-{collector}.jsonl")
    return ledger


def _add_lines(ledger: Ledger, path: Path) -> None:
    if not is_there(path):
        return
    for line in event_lines.scan_run(path.read_bytes()):
        if not isinstance(line, EventLine):
            ledger.events_bytes = ledger.events_bytes if line.torn else line.end
            continue
        ledger.events_bytes = line.end
        data = line.data
        entry = ledger.sessions.setdefault(data["session"], SessionEntry())
        if "seq" in data:
            entry.last = max(entry.last, data["seq"])
            entry.ended = data["seq"] if data["kind"] == "end" else entry.ended
        elif "gap" in data:
            entry.last = max(entry.last, data["gap"][1])
        elif "note" in data:
            entry.notes.append(f"{data['note']} {data['key']}")
            if data["note"] == "bye":
                entry.ended = data["data"].get("n")
        elif isinstance(data["info"].get("rank"), int):
            entry.rank = data["info"]["rank"]


def settle_ended(ledger: Ledger, ledger_file: Path, ended: list[str]) -> None:
    """Move ended sessions from the ledger to the file of ended sessions, which is not rewritten every second.

    Raises OSError and RetryLater.
    """
    file = open_events(ledgers.ended_file(ledger_file), ledger.ended_bytes)
    try:
        file.append(ledger.ended_lines(ended))
        file.sync()
        ledger.ended_bytes = file.size
    finally:
        file.close()
    ledger.settled.update(ended)
