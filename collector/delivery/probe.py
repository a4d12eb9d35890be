"""Delivers a tiny run to a sink and reads it back; ``ntrack sinks test`` runs this as a process of its own.

Prints one JSON object: ``ok``, ``told`` (what happened, for people), ``link``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from neural.tracking.errors import ConfigError, RefusedForGood, RetryLater
from neural.tracking.sink_state.config import SinkConfig, sink_named
from neural.tracking.sinks.base import Readable, RunEvent, RunInfo, SinkPlace
from neural.tracking.sinks.registry import make_sink

POINTS = {("ntrack/test", step, step / 4) for step in range(3)}


def probe(config: SinkConfig, base_dir: Path) -> dict[str, Any]:
    """Deliver and read back; return the JSON object. Does not raise where the backend fails."""
    now_ns = time.time_ns()
    run = RunInfo(os.urandom(16).hex(), "ntrack-test", base_dir / "ntrack-test", now_ns)
    try:
        place = SinkPlace(config.name, base_dir, os.urandom(4).hex(), config.call_timeout_s)
        sink = make_sink(config, place)
        try:
            sink.open()
            sink.write(_events(run, now_ns))
            sink.flush()
            read = sink.points(run) if isinstance(sink, Readable) else None
            found = None if read is None else set(read)
        finally:
            sink.close()
    except ImportError as error:
        told = f"not installed ({error}): pip install 'neural-tracking[{config.type}]'"
        return {"ok": False, "told": told, "link": None}
    except (ConfigError, RetryLater, RefusedForGood) as error:
        return {"ok": False, "told": str(error), "link": None}
    if found is None:
        return {"ok": True, "told": "delivered; this backend cannot be read back from here", "link": run.link}
    same = found == POINTS
    told = f"{len(POINTS)} points delivered and read back" if same else f"came back otherwise: {sorted(found)}"
    return {"ok": same, "told": told, "link": run.link}


def _events(run: RunInfo, now_ns: int) -> list[RunEvent]:
    def event(seq: int, step: int | None, kind: str, data: dict[str, Any]) -> RunEvent:
        return RunEvent(run, "0" * 32, 0, seq, now_ns + seq * 10**6, step, kind, data)

    metrics = [event(2 + s, s, "metrics", {name: value}) for name, s, value in sorted(POINTS)]
    ended = {"status": "completed", "error": None, "ended": True}
    return [
        event(1, None, "params", {"values": {"purpose": "test"}}),
        *metrics,
        event(0, None, "status", ended),
    ]


def main() -> int:
    """Probe the sink named on the command line; return 0 if all came back."""
    parser = argparse.ArgumentParser(prog="probe")
    parser.add_argument("name")
    parser.add_argument("--base-dir", type=Path, required=True)
    given = parser.parse_args()
    answer_fd = os.dup(1)
    os.dup2(2, 1)  # what a backend's package prints must not mix with the answer
    found = probe(sink_named(given.name, given.base_dir), given.base_dir)
    os.write(answer_fd, json.dumps(found).encode() + b"\n")
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
