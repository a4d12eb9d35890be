"""What a sink was given of each run, one small file a run: ``<state>/sinks/<sink>/runs/<uid>.json``.

Written after the sink flushed and before the worker's cursor moves, in one piece with what the sink
wants to remember of the run. So a restarted worker begins exactly where the backend's own memory does.
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
    """One session's part: everything up to ``last`` was delivered or set aside."""

    last: int = 0
    facts: SessionFacts = field(default_factory=lambda: SessionFacts(""))


@dataclass
class Share:
    """What one sink was given of one run. ``memory`` is the sink's own, ``link`` where people find the run."""

    uid: str
    name: str
    folder: str
    sessions: dict[str, SessionShare] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    link: str | None = None
    opened_ns: int = 0
    env: dict[str, str] = field(default_factory=dict)
    env_vouched: bool = False  # a session of this host said so
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)  # calls whose bytes are not stored yet
    pictures: dict[str, str] = field(default_factory=dict)  # automatic ones, by file name: which was given
    # What the log told while the run was held back: up to these numbers, and these artifacts' outcomes.
    passed_over: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    events_total: int = 0
    status: str = "running"
    ended: bool = False

    def last(self, session: str) -> int:
        """Return up to which number the session was delivered."""
        return self.sessions[session].last if session in self.sessions else 0

    def share_of(self, session: str) -> SessionShare:
        """Return the session's part, made where it is new."""
        if session not in self.sessions:
            self.sessions[session] = SessionShare(facts=SessionFacts(session))
        return self.sessions[session]

    def decided(self) -> tuple[str, str | None, int | None, bool]:
        """Return the run's status, error, end time, and whether every session known has ended."""
        facts = RunFacts(sessions={name: share.facts for name, share in self.sessions.items()}, logged=True)
        decider = facts.decider()
        all_ended = all(share.facts.ended_ns is not None for share in self.sessions.values())
        if decider is None or decider.status is None:
            return "running", None, None, False
        return decider.status, decider.error, decider.ended_ns, all_ended

    def write(self, path: Path) -> None:
        """Put the file in place; raises OSError."""
        body = asdict(self)
        # Versions before they were there still read all others.
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
        """Return what the file says; None where there is none that can be used."""
        try:
            body = read_json(path)
            if body is None or body.pop("format") != FORMAT:
                return None
            told = body.pop("sessions")
            share = cls(**body)
            for name, entry in told.items():
                last = entry.pop("last")
                share.sessions[name] = SessionShare(last, SessionFacts(name, **entry))
            return share
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


class SinkFolder:
    """The state folder of one sink: its shares of runs, its dead letters, what it was asked to replay."""

    def __init__(self, state: State, name: str) -> None:
        self.name = name
        self.root = state.root / "sinks" / name

    def make(self) -> None:
        """Create the folder; raises OSError."""
        for part in (self.runs, self.errands):
            part.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def errands(self) -> Path:
        """One file a run that is to be delivered from its folder."""
        return self.root / "errands"

    @property
    def dead_letters(self) -> Path:
        return self.root / "dead-letters.jsonl"

    @property
    def trying(self) -> Path:
        """What was being delivered; left behind by a worker that died doing it."""
        return self.root / "trying.json"

    @property
    def about(self) -> Path:
        """How the sink fares, as its worker last told."""
        return self.root / "about.json"

    def share_file(self, uid: str) -> Path:
        """Return where the share of a run is kept."""
        return self.runs / f"{uid}.json"

    def share(self, uid: str) -> Share | None:
        """Return what the sink was given of a run, None where that is nothing."""
        return Share.read(self.share_file(uid))

    def remove_share(self, uid: str, memory: dict[str, Any]) -> None:
        """Forget what the sink was given of a run, but not what it remembers: the backend still has its part.

        Raises:
            OSError: the share is as it was.
        """
        if memory:
            write_json(self._kept(uid), memory, mode=0o600)
        self.share_file(uid).unlink(missing_ok=True)

    def kept_memory(self, uid: str) -> dict[str, Any]:
        """Return what the sink remembers of a run of this uid that was removed."""
        with contextlib.suppress(OSError, ValueError):
            kept = read_json(self._kept(uid))
            return kept if isinstance(kept, dict) else {}
        return {}

    def _kept(self, uid: str) -> Path:
        return self.runs / f"{uid}.removed"

    def shares(self) -> Iterator[Share]:
        """Yield what the sink was given of every run."""
        for path in sorted(self.runs.glob("*.json")):
            share = Share.read(path)
            if share is not None:
                yield share

    def ask(self, uid: str, folder: Path, *, if_concerned: bool = False) -> None:
        """Leave word that a run is to be delivered from its folder; raises OSError.

        Args:
            if_concerned: only where the run is the sink's anyway.
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

    def asked(self) -> list[tuple[Path, str, Path, bool]]:
        """Return what was asked for: (file, uid, run folder, whether only if the run is the sink's)."""
        found = []
        for path in sorted(self.errands.glob("*.json")):
            try:
                told = read_json(path)
                found.append((path, path.stem, Path(told["folder"]), bool(told.get("if_concerned"))))
            except (OSError, ValueError, TypeError, KeyError):
                path.unlink(missing_ok=True)
        return found

    def mark(self, name: str) -> None:
        """Leave an empty file; raises OSError."""
        self.make()
        atomic_write(self.root / name, b"", mode=0o600)


def sink_folders(state: State) -> list[SinkFolder]:
    """Return the folders of all sinks that were ever used here."""
    root = state.root / "sinks"
    if not root.is_dir():
        return []
    return [SinkFolder(state, path.name) for path in sorted(root.iterdir()) if path.is_dir()]
