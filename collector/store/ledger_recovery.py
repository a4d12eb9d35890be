"""What the writer must find out when its own notes do not tell: after damage, or beside other collectors."""

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


def others(folder: Path, collector: str) -> dict[str, int]:
    """Return up to where other collectors stored each session in this folder, vouched for or not.

    What their ledgers do not vouch for is stored all the same, and counts: whoever wrote it may have lost
    its state folder, and with it every chance to vouch for it or to cut it.
    """
    found: dict[str, int] = {}
    claims = ledgers.read_all(folder, [])
    for owner in owners(folder).keys() - {collector}:
        for ledger in (claims.get(owner, Ledger()), recovered(folder, owner, b"")):
            for session, entry in ledger.sessions.items():
                found[session] = max(entry.last, found.get(session, 0))
    return found


def beyond(batch: EventBatch, last: int) -> EventBatch:
    """Return the batch without what is numbered up to ``last``, which is stored already."""
    for record in segment.scan(batch.payload, batch.session.session, base=batch.base):
        if isinstance(record, segment.Record) and last_number(record) > last:
            rest = batch.payload[record.pos :]
            return dataclasses.replace(batch, first=last + 1, base=batch.base + record.pos, payload=rest)
    return batch


def lost(folder: Path, durable: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """Return (session, first, last) of numbers that were durable and are in no part, tail, line or gap."""
    return [
        (state.session, first, min(last, durable[state.session]))
        for state in verify_run(folder).sessions
        for first, last in state.missing
        if first <= durable.get(state.session, 0)
    ]


def recovered(folder: Path, collector: str, uid: bytes) -> Ledger:
    """Return a ledger made from what the files hold, in place of one that cannot be read."""
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
    for line in event_lines.scan(path.read_bytes()):
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


def settle(ledger: Ledger, ledger_file: Path, ended: list[str]) -> None:
    """Move sessions that have ended out of what is written every second. Raises OSError, RetryLater."""
    file = open_events(ledgers.ended_file(ledger_file), ledger.ended_bytes)
    try:
        file.append(ledger.ended_lines(ended))
        file.sync()
        ledger.ended_bytes = file.size
    finally:
        file.close()
    ledger.settled.update(ended)
