"""The facts in the event lines of a run: its sessions, status, parameters, tags, notes and gaps.

Live views, rebuilt views and readers use the same fold over all collectors' files, in the order (time, session,
number), so their results cannot differ.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neural.tracking.core.files import matching
from neural.tracking.formats import event_lines, ledgers
from neural.tracking.formats.artifact_event import KIND, PRUNED
from neural.tracking.formats.event_lines import BadLine
from neural.tracking.formats.wire import VIA
from neural.tracking.params.plain import merge_params
from neural.tracking.reader.artifacts import ArtifactCall, Artifacts, call_of
from neural.tracking.reader.ledger_check import shortened_lines

LIFECYCLE = frozenset(("open", "metadata", "end"))  # events that do not make a run "running"


@dataclass
class SessionFacts:
    """The facts of one session."""

    session: str
    rank: int = 0
    attempt: int = 0
    role: str = ""
    via: str | None = None  # the name with which it connected from another host; None for the collector's host
    opened_ns: int = 0
    ended_ns: int | None = None
    status: str | None = None  # None while open
    error: str | None = None
    lost_contact: bool = False
    contact_ns: int = 0  # the time of the note about the contact
    highest: int = 0  # the highest number among its lines
    total: int | None = None  # its number of events, once known

    @property
    def order(self) -> tuple[int, int, str]:
        """The sort key of the sessions of an attempt; the first one decides the run's status."""
        return self.rank, self.opened_ns, self.session


@dataclass
class RunFacts:
    """The facts of one run; :func:`read_facts` builds it."""

    uid: str = ""
    sessions: dict[str, SessionFacts] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    params_history: list[dict[str, Any]] = field(default_factory=list)
    params_calls: dict[str, dict[str, Any]] = field(default_factory=dict)  # the last call of each session
    params_as_text: list[str] = field(default_factory=list)
    gathered: dict[str, Any] = field(default_factory=dict)  # command, host, git …
    tags: list[str] = field(default_factory=list)
    notes: str | None = None
    group: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    settings_via: str | None = None  # the ``via`` of the session with these settings
    gaps: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)
    logged: bool = False
    damages: list[str] = field(default_factory=list)
    name: str | None = None
    artifacts: Artifacts = field(default_factory=Artifacts)

    def decider(self) -> SessionFacts | None:
        """Return the session whose status is the run's; None if there are none.

        It is the first session of the lowest rank in the newest attempt; forked children do not count.
        """
        own = [s for s in self.sessions.values() if s.role != "child"] or list(self.sessions.values())
        newest = max((s.attempt for s in own), default=0)
        return min((s for s in own if s.attempt == newest), key=lambda s: s.order, default=None)

    def status(self, has_points: bool) -> str:
        """Return ``created``, ``running``, ``completed`` or ``failed``."""
        decider = self.decider()
        if decider is not None and decider.status is not None:
            return decider.status
        return "running" if self.logged or has_points else "created"


def event_files(folder: Path) -> list[Path]:
    """Return the events files of a run folder, one for each collector; raises OSError if it is unreadable."""
    return matching(folder, "events-*.jsonl")


def read_lines(folder: Path, damages: list[str]) -> Iterator[dict[str, Any]]:
    """Yield every valid line of every collector; append a text to ``damages`` for damaged or repeated ones.

    Blocks on the disk; raises OSError.
    """
    for path in event_files(folder):
        data = path.read_bytes()
        unnumbered: set[bytes] = set()
        for line in event_lines.scan_run(data):
            if not isinstance(line, BadLine):
                if "seq" not in line.data:
                    if (text := data[line.start : line.end]) in unnumbered:
                        damages.append(f"{path.name}: bytes {line.start} to {line.end} repeat a line")
                    unnumbered.add(text)
                yield line.data
            elif not line.torn:
                damages.append(f"{path.name}: bytes {line.start} to {line.end} are not a valid line")


def read_facts(folder: Path) -> RunFacts:
    """Return the facts in a run folder; damaged lines are left out and reported in ``damages``.

    Blocks: reads all events files.

    Raises:
        OSError: they cannot be read.
    """
    facts = RunFacts()
    claims = ledgers.sizes(folder)  # read first: the files must hold everything that the ledgers list
    events: list[dict[str, Any]] = []
    outcomes: dict[tuple[str, str], dict[str, Any]] = {}
    for line in read_lines(folder, facts.damages):
        session = facts.sessions.setdefault(line["session"], SessionFacts(line["session"]))
        if "seq" in line:
            session.highest = max(session.highest, line["seq"])
            facts.logged = facts.logged or line["kind"] not in LIFECYCLE
            if line["kind"] != "text":
                events.append(line)
        elif "gap" in line:
            first, last = line["gap"]
            facts.gaps.setdefault(line["session"], []).append((first, last, line["reason"]))
        elif "note" in line:
            fold_note(session, line)
            if line["note"] in (KIND, PRUNED):
                outcomes.setdefault((line["session"], f"{line['note']} {line['key']}"), line["data"])
        elif "info" in line:
            facts.uid = facts.uid or line["uid"]
            facts.name = facts.name or line["info"].get("name")
            _describe(session, line["info"], line["info"].get("opened_ns"))
            if isinstance(via := line["info"].get(VIA), str):
                session.via = via
    events = in_order(events)
    for event in events:
        if event["kind"] == "open":
            _describe(facts.sessions[event["session"]], event["data"], event["data"].get("started_ns"))
    best = (-1, 0)
    for event in events:
        session = facts.sessions[event["session"]]
        if event["kind"] == "metadata":
            if (session.attempt, -session.rank) < best:
                continue  # a higher rank or an earlier attempt does not count
            best = (session.attempt, -session.rank)
        fold_event(facts, session, event)
    for collector, claim in claims.items():
        facts.damages += shortened_lines(folder / f"events-{collector}.jsonl", claim.events_bytes)
    facts.artifacts.entries = [
        _entry(facts.sessions[event["session"]], event, outcomes) for event in events if event["kind"] == KIND
    ]
    return facts


def _entry(session: SessionFacts, event: dict[str, Any], outcomes: dict[tuple[str, str], Any]) -> ArtifactCall:
    outcome = outcomes.get((session.session, f"{KIND} {event['seq']}"))
    pruned = (session.session, f"{PRUNED} {event['seq']}") in outcomes
    return ArtifactCall(
        session.session, event["seq"], event["time_ns"], session.rank, call_of(event["data"]), outcome, pruned
    )


def in_order(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events in the order (time, session, number); within a session always in the order of numbers."""
    placed = []
    latest: dict[str, int] = {}
    for event in sorted(events, key=lambda e: (e["session"], e["seq"])):
        session = event["session"]
        latest[session] = max(event["time_ns"], latest.get(session, 0))
        placed.append((latest[session], session, event["seq"], event))
    return [event for *_, event in sorted(placed, key=lambda place: place[:3])]


def _describe(session: SessionFacts, description: dict[str, Any], opened_ns: Any) -> None:
    for name in ("rank", "attempt"):
        if isinstance(description.get(name), int):
            setattr(session, name, description[name])
    if isinstance(description.get("role"), str):
        session.role = description["role"]
    if isinstance(opened_ns, int):
        session.opened_ns = opened_ns


def fold_note(session: SessionFacts, line: dict[str, Any]) -> None:
    """Apply a note's line to the session: its end, its number of events, or its contact."""
    data = line["data"]
    if line["note"] == "died" and session.status is None:
        session.status, session.ended_ns, session.error = "failed", line["time_ns"], _death(data)
    elif line["note"] == "bye" and isinstance(data.get("n"), int):
        session.total = data["n"]
    elif line["note"] in ("lost_contact", "contact") and line["time_ns"] >= session.contact_ns:
        session.lost_contact, session.contact_ns = line["note"] == "lost_contact", line["time_ns"]


def _death(data: dict[str, Any]) -> str:
    number = data.get("signal")
    if isinstance(number, int) and number > 0:
        try:
            return f"died: {signal.Signals(number).name}"
        except ValueError:
            return f"died: signal {number}"
    reason = str(data.get("reason") or "died")
    return reason if reason.startswith("died") else f"died: {reason}"


def fold_event(facts: RunFacts, session: SessionFacts, event: dict[str, Any]) -> None:
    """Apply an event of the session to the facts; events must come in the order of :func:`in_order`."""
    data, kind = event["data"], event["kind"]
    if kind == "open":
        _add_tags(facts, data.get("tags"))
        facts.notes = data.get("notes") if data.get("notes") is not None else facts.notes
        facts.group = facts.group if facts.group is not None else data.get("group")
        _fold_settings(facts, session, data.get("settings"))
        facts.name = facts.name or data.get("name")
    elif kind == "params":
        values = data.get("values") or {}
        facts.params = merge_params(facts.params, values)
        as_text = data.get("as_text") or []
        facts.params_as_text = sorted({*facts.params_as_text, *as_text})
        call = facts.params_calls.get(session.session) if _is_later_part(data.get("part")) else None
        if call is not None:
            call["values"] = merge_params(call["values"], values)
            call["as_text"] = [*call["as_text"], *as_text]
            return
        call = {"time_ns": event["time_ns"], "rank": session.rank, "values": values, "as_text": as_text}
        facts.params_history.append(call)
        facts.params_calls[session.session] = call
    elif kind == "metadata":
        facts.gathered |= data.get("values") or {}
    elif kind == "tags":
        _add_tags(facts, data.get("add"))
    elif kind == "notes":
        facts.notes = data.get("notes")
    elif kind == "end":
        session.status = str(data.get("status") or "completed")
        session.error = data.get("error")
        session.ended_ns, session.total = event["time_ns"], event["seq"]


def _fold_settings(facts: RunFacts, session: SessionFacts, settings: Any) -> None:
    """Keep the first settings; settings of this host's sessions replace those of another host's sessions."""
    if not isinstance(settings, dict) or not settings:
        return
    if not facts.settings or (facts.settings_via is not None and session.via is None):
        facts.settings, facts.settings_via = settings, session.via


def _is_later_part(part: Any) -> bool:
    """Return whether parameters are a later part of the previous call."""
    return isinstance(part, list) and bool(part) and isinstance(part[0], int) and part[0] > 1


def _add_tags(facts: RunFacts, tags: Any) -> None:
    facts.tags += [tag for tag in tags or () if tag not in facts.tags]


def remote_sessions(folder: Path) -> list[str]:
    """Return the sessions in a run's folder that connected over TCP; unreadable files count as empty."""
    found = set()
    with contextlib.suppress(OSError):  # a damaged folder can be removed, too
        for line in read_lines(folder, []):
            if isinstance(line.get("info"), dict) and VIA in line["info"]:
                found.add(line["session"])
    return sorted(found)
