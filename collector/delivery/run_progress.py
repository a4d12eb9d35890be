"""The runs that are a sink's: which those are, how far each was taken and delivered, what is kept of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neural.tracking.collector.log.items import LoggedSession
from neural.tracking.core.files import inside
from neural.tracking.errors import InvalidNameError, RetryLater
from neural.tracking.figures.saving import AUTOMATIC, FOLDER
from neural.tracking.formats.run_file import folder_name
from neural.tracking.formats.wire import VIA
from neural.tracking.reader.artifacts import ArtifactCall, call_of
from neural.tracking.reader.event_replay import Emitted
from neural.tracking.reader.facts import SessionFacts, fold_note
from neural.tracking.reader.run import Run
from neural.tracking.sink_state import guests
from neural.tracking.sink_state.config import SinkConfig
from neural.tracking.sink_state.guests import Said
from neural.tracking.sink_state.progress import Share, SinkFolder
from neural.tracking.sinks.base import RunEvent, RunInfo
from neural.tracking.state.paths import State
from neural.tracking.state.tombstones import Tombstone, Tombstones

MAX_OPEN_RUNS = 500
_FACTS = ("rank", "attempt", "role", "opened_ns")


class OpenRun:
    """One run: its share as it was saved, and how far beyond that it was taken."""

    def __init__(self, info: RunInfo, share: Share) -> None:
        self.info = info
        self.share = share
        self.refused: str | None = None  # why it is not delivered as it is
        self.stone: Tombstone | None = None  # of a run that was removed before this one of the same uid
        self.dirty = False
        self._taken: dict[str, int] = {}
        self._delivering: dict[str, Mapping[str, Any]] = {}  # outcomes of artifacts among the pending events
        self._told = (share.status, share.ended)

    def taken(self, session: str) -> int:
        """Return up to which number the session was taken, delivered or not yet."""
        return max(self._taken.get(session, 0), self.share.last(session))

    def took(self, session: str, last: int) -> None:
        """Remember that everything up to ``last`` was taken."""
        self._taken[session] = max(last, self.taken(session))

    def hold_back(self) -> None:
        """Let go of what was taken and not delivered, but for what its folder may not tell."""
        for session, last in self._taken.items():
            self.pass_over(session, last)
        for place, outcome in self._delivering.items():
            self.keep_outcome(place, outcome)
        self.start_over()

    def pass_over(self, session: str, last: int) -> None:
        """Remember that the log went on to ``last`` without the run: its folder will have that much."""
        if last > self.share.passed_over.get(session, 0):
            self.share.passed_over[session] = last
            self.dirty = True

    def keep_outcome(self, place: str, outcome: Mapping[str, Any]) -> None:
        """Keep what became of an artifact, by session and number: its call may have been passed over."""
        self.share.outcomes[place] = dict(outcome)
        self.dirty = True

    def is_behind(self) -> bool:
        """Return whether its folder is to bring what the log told while it was held back."""
        left = any(self.taken(session) < last for session, last in self.share.passed_over.items())
        return left or bool(self.share.outcomes)

    def caught_up(self) -> bool:
        """Return whether all was taken that was passed over; it is remembered no more then."""
        if any(self.taken(session) < last for session, last in self.share.passed_over.items()):
            return False
        self.dirty = self.dirty or bool(self.share.passed_over or self.share.outcomes)
        self.share.passed_over, self.share.outcomes = {}, {}
        return True

    def start_over(self) -> None:
        """Forget what was taken and not delivered: it will be taken again."""
        self._taken.clear()
        self._delivering.clear()
        self._told = (self.share.status, self.share.ended)

    def delivered(self, session: str, last: int, event: RunEvent | None = None) -> None:
        """Remember that everything up to ``last`` is with the sink, or set aside."""
        self.dirty = True
        if event is not None:
            self.share.events_total += 1
            if "picture" in event.data:
                self.share.pictures[event.data["name"]] = event.data["picture"]
                return
            if event.kind == "artifact":
                self.share.artifacts.pop(f"{session}:{last}", None)
                self._delivering.pop(f"{session}:{last}", None)
            if event.kind == "status":
                self.share.status, self.share.ended = event.data["status"], event.data["ended"]
                return
        share = self.share.share_of(session)
        share.last = max(share.last, last)

    def rank(self, session: str) -> int:
        return self.share.share_of(session).facts.rank

    def describe(self, session: str, told: SessionFacts | Mapping[str, Any]) -> None:
        """Learn which rank and attempt a session is."""
        facts = self.share.share_of(session).facts
        for name in _FACTS:
            value = told.get(name) if isinstance(told, Mapping) else getattr(told, name)
            if isinstance(value, type(getattr(facts, name))):
                setattr(facts, name, value)

    def settle_facts(self, session: str, told: SessionFacts) -> None:
        """Learn how a session ended, from its run's folder; that may know less than the log has told."""
        facts = self.share.share_of(session).facts
        if told.ended_ns is None and facts.ended_ns is not None:
            return
        facts.status, facts.error, facts.ended_ns = told.status, told.error, told.ended_ns

    def fold(self, session: str, event: Emitted) -> bool:
        """Learn from an event what bears on the run's status; return whether it did."""
        facts = self.share.share_of(session).facts
        if event.kind == "open":
            self.describe(session, {**event.data, "opened_ns": event.data.get("started_ns")})
            facts.status = facts.error = facts.ended_ns = None
            return True
        if event.kind == "end":
            facts.status = str(event.data.get("status") or "completed")
            facts.error, facts.ended_ns = event.data.get("error"), event.time_ns
            return True
        return False

    def await_artifact(self, session: str, event: Emitted) -> None:
        """Keep an artifact's call until its bytes are stored: only then there is something to deliver."""
        call = {"session": session, "seq": event.seq, "time_ns": event.time_ns, "step": event.step}
        self.share.artifacts[f"{session}:{event.seq}"] = {**call, "call": event.data}
        self.dirty = True

    def stored_artifact(self, session: str, seq: str, outcome: Mapping[str, Any]) -> RunEvent | None:
        """Return the event of an artifact whose outcome is known; None if it was delivered, or was lost."""
        kept = self.share.artifacts.get(f"{session}:{seq}")
        if kept is None or f"{session}:{seq}" in self._delivering:
            return None
        if outcome.get("lost") is not None:
            del self.share.artifacts[f"{session}:{seq}"]
            return None
        self._delivering[f"{session}:{seq}"] = outcome
        entry = ArtifactCall(
            session, kept["seq"], kept["time_ns"], self.rank(session), call_of(kept["call"]), outcome
        )
        data = {
            "name": entry.name,
            "version": entry.version,
            "path": str(self.info.folder / entry.path),
            "checksum": entry.checksum,
            "size": entry.size,
            "type": str(entry.call.get("type", "artifact")),
            "aliases": list(entry.call.get("aliases") or ()),
            "metadata": dict(entry.call.get("metadata") or {}),
            "uri": entry.call.get("uri"),
        }
        return RunEvent(
            self.info, session, entry.rank, entry.seq, entry.time_ns, kept["step"], "artifact", data
        )

    def new_pictures(self) -> list[RunEvent]:
        """Return the automatic pictures of a run that has ended, as they are now and were not delivered."""
        found: list[RunEvent] = []
        if not self.share.decided()[3]:
            return found
        for number, path in enumerate(sorted((self.info.folder / FOLDER).glob(f"{AUTOMATIC}*.png")), 1):
            content = path.read_bytes()
            checksum = hashlib.sha256(content).hexdigest()
            if self.share.pictures.get(path.name) == checksum:
                continue
            data: dict[str, Any] = {
                "name": path.name,
                "version": None,
                "path": str(path),
                "checksum": checksum,
                "size": len(content),
                "type": "figure",
                "aliases": [],
                "metadata": {},
                "uri": None,
                "picture": checksum,
            }
            # Below zero: it is no event of a session.
            found.append(RunEvent(self.info, "", 0, -number, time.time_ns(), None, "artifact", data))
        return found

    def heard(self, session: str, note: Mapping[str, Any]) -> None:
        """Learn from a note of the collector: a death."""
        facts = self.share.share_of(session).facts
        data = {key: value for key, value in note.items() if key not in ("kind", "key", "time_ns")}
        fold_note(facts, {"note": note["kind"], "time_ns": int(note.get("time_ns", 0)), "data": data})

    def changed_status(self) -> dict[str, Any] | None:
        """Return the run's status where it is another than was last told."""
        status, error, ended_ns, ended = self.share.decided()
        if (status, ended) == self._told:
            return None
        self._told = (status, ended)
        return {"status": status, "error": error, "ended": ended, "ended_ns": ended_ns}


class RunProgress:
    """All runs of one sink that are open in its worker."""

    def __init__(self, config: SinkConfig, state: State, folder: SinkFolder) -> None:
        self._config = config
        self._state = state
        self._folder = folder
        self._tombstones = Tombstones(state.tombstones)
        self._open: dict[str, OpenRun | None] = {}

    def of_session(self, session: LoggedSession) -> OpenRun | None:
        """Return the session's run, None where it is not this sink's."""
        uid = session.uid.hex()
        if uid not in self._open or (self._open[uid] is None and self._named(session)):
            stone = self._tombstones.of(session.uid)
            if stone is not None and stone.covers(session.info):
                return None
            self._open[uid] = self._opened(session, stone)
        run = self._open[uid]
        if run is not None and run.stone is not None and run.stone.covers(session.info):
            return None
        if run is not None and session.session.hex() not in run.share.sessions:
            run.describe(session.session.hex(), session.info)
        if run is not None and run.refused is not None and session.info.get(VIA) is None:
            self._grant(run, Said(session.info.get("env"), vouched=True))  # its folder was met before it
        return run

    def of_folder(self, found: Run) -> OpenRun:
        """Return the run of a folder, wherever that lies."""
        uid = found.uid.hex()
        run = self._open.get(uid)
        if run is None:
            said = Said(found.settings.get("env"), found.facts.settings_via)
            run = self._make(uid, found.name, found.folder, found.start_ns, said)
            run.stone = self._tombstones.of(found.uid)
            self._open[uid] = run
        run.info.folder = found.folder
        return run

    def behind(self, uid: str) -> OpenRun | None:
        """Return a run that waits for its folder to bring what the log told while it was held back."""
        run = self._open.get(uid)
        if uid not in self._open and (share := self._folder.share(uid)) is not None:
            run = self._open[uid] = self._make(uid, share.name, Path(share.folder), share.opened_ns, None)
        if run is None or not run.is_behind():
            return None
        gone = self._tombstones.of(bytes.fromhex(uid)) is not None and not run.info.folder.is_dir()
        return None if gone else run

    def of_letter(self, letter: Mapping[str, Any]) -> OpenRun:
        """Return the run of a dead letter."""
        run = self._open.get(letter["run"])
        if run is None:
            run = self._make(letter["run"], letter["name"], Path(letter["folder"]), 0, None)
            self._open[letter["run"]] = run
        return run

    def concerns(self, found: Run) -> bool:
        """Return whether a run in ``base_dir`` ought to be delivered, as far as it is not."""
        via = found.facts.settings_via
        if via is not None and not self._config.configured:
            return False
        if self._folder.share_file(found.uid.hex()).exists():
            return True
        if guests.is_named(self._config, found.settings.get("backend"), via):
            return True
        since_ns = self._since_ns()
        return self._config.runs == "all" and (found.end_ns is None or found.end_ns >= since_ns)

    @property
    def name(self) -> str:
        return self._config.name

    def is_new(self) -> bool:
        """Return whether this sink works here for the first time; remembers that it did."""
        new = not (self._folder.root / "since").exists()
        if new:
            self._folder.mark("since")
        return new

    def _since_ns(self) -> int:
        return (self._folder.root / "since").stat().st_mtime_ns

    def forget(self, uid: str) -> None:
        """Drop a run that was deleted, and what was kept of it, but for what the sink itself remembers.

        A later run of the same uid goes on in the same place of the backend: after the rows that are there.
        """
        run = self._open.pop(uid, None)
        share = self._folder.share(uid)
        memory = run.info.memory if run is not None else share.memory if share is not None else {}
        self._folder.remove_share(uid, memory)

    def dirty(self) -> bool:
        """Return whether something was delivered that is not saved."""
        return any(run is not None and run.dirty for run in self._open.values())

    def save(self) -> None:
        """Write the share of every run that was delivered to; raises OSError."""
        for run in self._open.values():
            if run is not None and run.dirty:
                run.share.memory, run.share.link = run.info.memory, run.info.link
                run.share.write(self._folder.share_file(run.info.uid))
                run.dirty = False

    def tidy(self) -> None:
        """Let go of runs that have ended, once there are many; nothing of them may be pending."""
        if len(self._open) > MAX_OPEN_RUNS:
            self._open = {
                uid: run
                for uid, run in self._open.items()
                if run is not None and (run.dirty or run.share.artifacts or not run.share.ended)
            }

    def _named(self, session: LoggedSession) -> bool:
        return guests.is_named(self._config, session.info.get("sinks"), session.info.get(VIA))

    def _opened(self, session: LoggedSession, stone: Tombstone | None) -> OpenRun | None:
        uid = session.uid.hex()
        via = session.info.get(VIA)
        if via is not None and not self._config.configured:
            return None
        known = self._folder.share_file(uid).exists()
        if not (known or self._config.runs == "all" or self._named(session)):
            return None
        told = session.info
        name = str(told.get("name") or "run")
        opened_ns = told["opened_ns"] if isinstance(told.get("opened_ns"), int) else time.time_ns()
        try:
            folder = inside(self._state.base_dir, str(told.get("dir")))
        except InvalidNameError:
            folder = self._state.base_dir / folder_name("run", session.uid)
        run = self._make(uid, name, folder, opened_ns, Said(told.get("env"), via, vouched=via is None))
        run.stone = stone
        return run

    def _make(self, uid: str, name: str, folder: Path, opened_ns: int, said: Said | None) -> OpenRun:
        share = self._folder.share(uid)
        if share is None:
            memory = self._folder.kept_memory(uid)
            share = Share(uid, name, str(folder), memory=memory, opened_ns=opened_ns)
        run = OpenRun(
            RunInfo(uid, share.name, folder, share.opened_ns, share.env, share.memory, share.link), share
        )
        if not (share.env and share.env_vouched):
            said = said or _said_in(folder)
            # What an older version kept is not said to be anybody's: of a run of this host it goes on to count.
            if not share.env or said.vouched or said.via is not None:
                self._grant(run, said)
        return run

    def _grant(self, run: OpenRun, said: Said) -> None:
        """Let count what the run may say of its backends' environment; else say why it is not delivered."""
        share = run.share
        share.env, run.refused = guests.granted(self._config, said, self._state.base_dir)
        share.env_vouched = said.vouched and bool(share.env)
        run.info.env = share.env


def _said_in(folder: Path) -> Said:
    """Return what a run's folder says of its environment; raises RetryLater."""
    found = Run(folder, "skip")
    try:
        return Said(found.settings.get("env"), found.facts.settings_via)
    except OSError as error:
        raise RetryLater(f"cannot read {folder}: {error}") from error
