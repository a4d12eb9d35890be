"""When which run's plots are due. It has no files, processes or clock: the caller passes everything.

A run is drawn the first time as soon as it has logged as often as it asked for, later at most every 30 s, and
once more after it ended. Only the newest state is ever drawn: what is logged meanwhile is counted, not queued.
Later rounds wait, in turns, so that the rounds of all runs together cost at most 5 % of a core. The first and
the last round of a run do not wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT_EVERY = 10
PAUSE_S = 30.0
SHARE = 0.05
MOST_TRIES = 3  # a round that failed so often is given up until the next log call
MOST_WAITS = 9  # tries if the error may pass, as a full disk: about 5 minutes
LONGEST_WAIT_S = 60.0


@dataclass
class Watched:
    """The state of one run. ``logs`` and ``ended`` count from the beginning of its last round."""

    folder: str
    every: int
    logs: int = 0
    logged: bool = False  # whether it ever logged a metric
    rounds: int = 0
    drawn_s: float = float("-inf")
    not_before_s: float = float("-inf")
    tries: int = 0
    ended: bool = False
    live: set[bytes] = field(default_factory=set)

    @property
    def has_due_round(self) -> bool:
        """Whether a round will be drawn even if nothing more is logged. Never blocks."""
        return self.logs >= self.every or self.ended

    def due_s(self, free_s: float) -> float:
        """Return when the round is due; ``free_s``: when drawing has cost little enough again. Never blocks."""
        last = self.ended and not self.live
        if last or not self.rounds:
            return self.not_before_s
        return max(self.not_before_s, self.drawn_s + PAUSE_S, free_s)


class Schedule:
    """All runs that are drawn automatically. Nothing here blocks.

    ``now_s`` is the time in seconds of any clock that only goes forward.
    """

    def __init__(self) -> None:
        self._runs: dict[bytes, Watched] = {}
        self._free_s = float("-inf")
        self._drawing: tuple[bytes, int, bool] | None = None

    def __contains__(self, uid: bytes) -> bool:
        return uid in self._runs

    def watch(self, uid: bytes, folder: str, every: int | None, *, logged: bool = False) -> None:
        """Draw this run from now on; ``every``: after so many log calls; ``logged``: it has points already."""
        self._runs.setdefault(uid, Watched(folder, every or DEFAULT_EVERY, logged=logged))

    def forget(self, uid: bytes) -> None:
        """Draw this run no more: it was removed."""
        self._runs.pop(uid, None)

    def logged(self, uid: bytes, session: bytes, calls: int) -> None:
        """Count log calls of a live session."""
        run = self._runs[uid]
        run.logs += calls
        run.logged = run.logged or calls > 0
        run.live.add(session)

    def ended(self, uid: bytes, session: bytes) -> None:
        """Note that a session has ended; after the last session of a run, the run is drawn again."""
        run = self._runs.get(uid)
        if run is None or (session not in run.live and run.ended):
            return
        run.live.discard(session)
        if run.live:
            return
        if run.logged:
            run.ended = True
        else:
            del self._runs[uid]

    def missed(self, uid: bytes) -> None:
        """Note that a watched run ended without being noticed here."""
        run = self._runs[uid]
        run.live.clear()
        run.logged = run.ended = True

    def has_due_rounds(self) -> bool:
        """Return whether something is being drawn, or will be without further events."""
        return self._drawing is not None or any(run.has_due_round for run in self._runs.values())

    def next_due_s(self) -> float | None:
        """Return when the next round is due; None if none is."""
        return min((run.due_s(self._free_s) for run in self._runs.values() if run.has_due_round), default=None)

    def begin(self, now_s: float) -> tuple[bytes, str] | None:
        """Return uid and folder of the run to draw now; None if none is due. Only one round runs at a time.

        Runs that have ended come first, then the run that was drawn the longest ago.
        """
        due = [
            (not run.ended, run.drawn_s, uid)
            for uid, run in self._runs.items()
            if run.has_due_round and run.due_s(self._free_s) <= now_s
        ]
        if self._drawing is not None or not due:
            return None
        uid = min(due)[-1]
        run = self._runs[uid]
        self._drawing = (uid, run.logs, run.ended)
        run.logs, run.ended = 0, False
        return uid, run.folder

    def done(self, now_s: float, cpu_s: float) -> bytes | None:
        """Note that the round was drawn and cost ``cpu_s`` seconds; return the run's uid if it was the last."""
        assert self._drawing is not None
        (uid, _, ended), self._drawing = self._drawing, None
        self._free_s = max(self._free_s, now_s + cpu_s * (1 / SHARE - 1))
        run = self._runs.get(uid)
        if run is None:
            return None
        run.rounds, run.drawn_s, run.tries = run.rounds + 1, now_s, 0
        return uid if self._drop_if_over(uid, ended) else None

    def failed(self, now_s: float, most_tries: int = MOST_TRIES) -> bool:
        """Note that the round failed; return whether it is tried again, after a pause."""
        assert self._drawing is not None
        (uid, logs, ended), self._drawing = self._drawing, None
        run = self._runs.get(uid)
        if run is None:
            return False
        run.tries += 1
        if run.tries >= most_tries:
            run.tries = 0
            self._drop_if_over(uid, ended)
            return False
        run.logs, run.ended = run.logs + logs, run.ended or ended
        run.not_before_s = now_s + min(2.0**run.tries, LONGEST_WAIT_S)
        return True

    def pending(self) -> dict[str, Any]:
        """Return what a successor must know: the runs that are live, or have something to be drawn."""
        kept = {}
        for uid, run in self._runs.items():
            now = self._drawing if self._drawing is not None and self._drawing[0] == uid else (uid, 0, False)
            if run.logged:
                logs, ended = run.logs + now[1], run.ended or now[2]
                live = sorted(session.hex() for session in run.live)
                entry = {"folder": run.folder, "every": run.every, "logs": logs, "ended": ended, "live": live}
                kept[uid.hex()] = entry
        return kept

    def resume(self, kept: Mapping[str, Mapping[str, Any]]) -> None:
        """Continue with what :meth:`pending` returned to a predecessor; raises ValueError for anything else."""
        try:
            for uid, one in kept.items():
                logs, ended = int(one["logs"]), bool(one["ended"])
                run = Watched(str(one["folder"]), int(one["every"]), logs, logged=True, ended=ended)
                run.live.update(map(bytes.fromhex, one.get("live", ())))
                self._runs[bytes.fromhex(uid)] = run
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a record of due plots: {error!r}") from error

    def _drop_if_over(self, uid: bytes, ended: bool) -> bool:
        run = self._runs[uid]
        over = not run.live and not run.has_due_round and ended
        if over:
            del self._runs[uid]
        return over
