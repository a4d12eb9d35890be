"""How far each run was delivered to a sink: a file for each run, ``<state>/sinks/<sink>/runs/<uid>.json``.

It is written after the sink flushed and before the worker's cursor moves, in one atomic write with the data
that the sink remembers of the run. So a restarted worker continues exactly where these data end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neural.tracking.core.files import atomic_write, read_json, write_json
from neural.tracking.reader.facts import RunFacts, SessionFacts
from neural.tracking.state.paths import State

FORMAT = 1
_KEPT = ("rank", "attempt", "role", "opened_ns", "ended_ns", "status", "error")


@dataclass
class SessionShare:
    """The progress of one session: everything up to number ``last`` was delivered or is a dead letter."""

    last: int = 0
    facts: SessionFacts = field(default_factory=lambda: SessionFacts(""))


@dataclass
class Share:
    """The progress of one run in one sink: ``memory`` is the sink's own data, ``link`` a web address."""

    uid: str
    name: str
    folder: str
    sessions: dict[str, SessionShare] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    link: str | None = None
    opened_ns: int = 0
    env: dict[str, str] = field(default_factory=dict)
    env_vouched: bool = False  # whether ``env`` is from a session of this host
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)  # calls whose bytes are not stored yet
    pictures: dict[str, str] = field(default_factory=dict)  # which version of each automatic plot was delivered
    # What the log contained while the run was held: the last numbers, and the outcomes of artifacts.
    passed_over: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    events_total: int = 0
    status: str = "running"
    ended: bool = False

    def last(self, session: str) -> int:
        """Return the last number that was delivered of the session, 0 if none."""
        return self.sessions[session].last if session in self.sessions else 0

    def share_of(self, session: str) -> SessionShare:
        """Return the session's progress; a new session gets an empty one."""
        if session not in self.sessions:
            self.sessions[session] = SessionShare(facts=SessionFacts(session))
        return self.sessions[session]

    def decided(self) -> tuple[str, str | None, int | None, bool]:
        """Return the run's status, error and end time (ns since 1970), and whether all its sessions ended."""
        facts = RunFacts(sessions={name: share.facts for name, share in self.sessions.items()}, logged=True)
        decider = facts.decider()
        all_ended = all(share.facts.ended_ns is not None for share in self.sessions.values())
        if decider is None or decider.status is None:
            return "running", None, None, False
        return decider.status, decider.error, decider.ended_ns, all_ended

    def write(self, path: Path) -> None:
        """Write the file atomically and durably; raises OSError."""
        body = asdict(self)
        # Older versions do not know these keys: so they can still read files that do not need them.
        for name in ("passed_over", "outcomes", "env_vouched"):
            if not body[name]:
                del body[name]
        body["sessions"] = {
            name: {"last": share.last, **{key: getattr(share.facts, key) for key in _KEPT}}
            for name, share in self.sessions.items()
        }
        write_json(path, {"format": FORMAT, **body}, mode=0o600)

    @classmethod
    def read(cls, path: Path) -> Share | None:
        """Return the progress in the file; None if it is missing or unusable."""
        try:
            body = read_json(path)
            if body is None or body.pop("format") != FORMAT:
                return None
            sessions = body.pop("sessions")
            share = cls(**body)
            for name, entry in sessions.items():
                last = entry.pop("last")
                share.sessions[name] = SessionShare(last, SessionFacts(name, **entry))
            return share
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


class SinkFolder:
    """The state folder of one sink: its progress of each run, its dead letters, its requested deliveries.

    The methods block briefly on the disk.
    """

    def __init__(self, state: State, name: str) -> None:
        self.name = name
        self.root = state.root / "sinks" / name

    def make(self) -> None:
        """Create the folder; raises OSError."""
        for part in (self.runs, self.errands):
            part.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def runs(self) -> Path:
        """The folder of progress files."""
        return self.root / "runs"

    @property
    def errands(self) -> Path:
        """The folder of errands: one file for each run that must be delivered from its folder."""
        return self.root / "errands"

    @property
    def dead_letters(self) -> Path:
        """The file of dead letters, one JSON line each."""
        return self.root / "dead-letters.jsonl"

    @property
    def trying(self) -> Path:
        """The file with the attempt, the batch being delivered; a worker that dies leaves it behind."""
        return self.root / "trying.json"

    @property
    def about(self) -> Path:
        """The file with the sink's state, as its worker last reported it."""
        return self.root / "about.json"

    def share_file(self, uid: str) -> Path:
        """Return the path of a run's progress file."""
        return self.runs / f"{uid}.json"

    def share(self, uid: str) -> Share | None:
        """Return a run's progress; None if nothing was delivered."""
        return Share.read(self.share_file(uid))

    def remove_share(self, uid: str, memory: dict[str, Any]) -> None:
        """Remove a run's progress and keep ``memory``, the sink's own data: the backend still has the run.

        Raises:
            OSError: the progress is not removed.
        """
        if memory:
            write_json(self._kept(uid), memory, mode=0o600)
        self.share_file(uid).unlink(missing_ok=True)

    def kept_memory(self, uid: str) -> dict[str, Any]:
        """Return the sink's own data of a removed run with this uid; empty if there are none."""
        with contextlib.suppress(OSError, ValueError):
            kept = read_json(self._kept(uid))
            return kept if isinstance(kept, dict) else {}
        return {}

    def _kept(self, uid: str) -> Path:
        return self.runs / f"{uid}.removed"

    def shares(self) -> Iterator[Share]:
        """Yield the progress of every run; unusable files are left out."""
        for path in sorted(self.runs.glob("*.json")):
            share = Share.read(path)
            if share is not None:
                yield share

    def request_delivery(self, uid: str, folder: Path, *, if_concerned: bool = False) -> None:
        """Request that the worker delivers a run from its folder; durable on return. Raises OSError.

        Args:
            uid: the run's uid in hex digits.
            folder: the run folder.
            if_concerned: deliver it only if the run belongs to the sink anyway.
        """
        self.make()
        path = self.errands / f"{uid}.json"
        wanted = {"folder": str(folder), "if_concerned": if_concerned}
        if if_concerned and path.exists():
            return
        with contextlib.suppress(ValueError):
            if read_json(path) == wanted:
                return
        write_json(path, wanted, mode=0o600)

    def requested_deliveries(self) -> list[tuple[Path, str, Path, bool]]:
        """Return the requests as (file, uid, run folder, ``if_concerned``); remove unusable ones."""
        found = []
        for path in sorted(self.errands.glob("*.json")):
            try:
                errand = read_json(path)
                found.append((path, path.stem, Path(errand["folder"]), bool(errand.get("if_concerned"))))
            except (OSError, ValueError, TypeError, KeyError):
                path.unlink(missing_ok=True)
        return found

    def mark(self, name: str) -> None:
        """Create an empty file of this name in the sink's folder; raises OSError."""
        self.make()
        atomic_write(self.root / name, b"", mode=0o600)


def sink_folders(state: State) -> list[SinkFolder]:
    """Return the folders of all sinks that were ever used with this state folder."""
    root = state.root / "sinks"
    if not root.is_dir():
        return []
    return [SinkFolder(state, path.name) for path in sorted(root.iterdir()) if path.is_dir()]
