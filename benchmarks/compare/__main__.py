"""Compares this project with other trackers in use today: all do the same work.

Run as ``python benchmarks/compare [--quick]``. Each tool has a virtual environment of its own. In each round
the tools run in turn; a lock allows one benchmark at a time on a machine. It writes every trial into
``.compare/results.json``, and, without ``--quick``, ``docs/comparison.md`` with its figures.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from catalog import ALL, NOTHING, OURS, PEERS, ROOT, SERVERS, Entry
from launch import trial
from measures import calls, faults, long, survive, training
from report import document
from venvs import CACHE, CannotInstall, prepare, versions

LOCK = Path("/tmp/neural-tracking-benchmark.lock")
EVERYONE = (OURS, *PEERS)
# measure, who takes part, rounds
MEASURES: tuple[tuple[Any, tuple[Entry, ...], int], ...] = (
    (calls, EVERYONE, 3),
    (long, EVERYONE, 1),
    (survive, EVERYONE, 1),
    (training, (NOTHING, *EVERYONE), 3),
    (faults, (OURS, *PEERS, *SERVERS), 1),
)


def main() -> int:
    """Measure, write the report, and return 1 if a target was not reached, else 0."""
    parser = argparse.ArgumentParser(prog="compare", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short loops and one round, for development")
    parser.add_argument("--peers", nargs="+", choices=[entry.key for entry in ALL], help="only these tools")
    parser.add_argument("--measures", nargs="+", choices=[_name(m) for m, _, _ in MEASURES], help="only these")
    parser.add_argument("--report", action="store_true", help="do not measure, only write the report again")
    given = parser.parse_args()
    CACHE.mkdir(exist_ok=True)
    results_file = CACHE / ("results-quick.json" if given.quick else "results.json")
    if not given.report:
        with LOCK.open("w") as lock:
            print("waits until no other benchmark runs", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
            measure(results_file, given.quick, given.peers, given.measures)
    results = json.loads(results_file.read_text())
    return document.write(results, into_docs=not given.quick)


def measure(
    results_file: Path, quick: bool, peers: Sequence[str] | None, measures: Sequence[str] | None
) -> None:
    """Measure everything, and write it to the file together with the machine and the versions."""
    sys.path.append(str(ROOT / "benchmarks"))
    from _measure import machine

    begun = time.time()
    wanted = {*(peers or [entry.key for entry in ALL]), OURS.key, NOTHING.key}
    pythons, installed, missing = install([entry for entry in ALL if entry.key in wanted])
    about = {"command": f"python benchmarks/compare {shlex.join(sys.argv[1:])}".strip(), "quick": quick}
    about |= {"began": begun, "machine": machine(), "versions": installed, "missing": missing}
    found: list[dict[str, Any]] = []
    took_s = 0.0
    if measures is not None and results_file.exists():  # keep the earlier results of the other measures
        before = json.loads(results_file.read_text())
        found = [one for one in before["trials"] if one["measure"] not in measures]
        about |= {"command": f"{before['command']}, then {about['command']}", "began": before["began"]}
        took_s = before["took_s"]
    for module, entries, rounds in MEASURES:
        if measures is None or _name(module) in measures:
            present = [entry for entry in entries if entry.key in pythons]
            for result in take_turns(module, present, pythons, 1 if quick else rounds, quick):
                found.append(result)
                results = {**about, "took_s": took_s + time.time() - begun, "trials": found}
                results_file.write_text(json.dumps(results, indent=1))


def install(entries: list[Entry]) -> tuple[dict[str, Path], dict[str, dict[str, str]], dict[str, str]]:
    """Return interpreters, installed versions, and why a tool is missing, each by the entry's key."""
    pythons: dict[str, Path] = {}
    installed: dict[str, dict[str, str]] = {}
    missing: dict[str, str] = {}
    for entry in entries:
        try:
            python = prepare(OURS if entry is NOTHING else entry)
        except CannotInstall as error:
            print(f"  {entry.title} cannot be installed: {error}", flush=True)
            missing[entry.key] = str(error)
            continue
        pythons[entry.key] = python
        installed[entry.key] = versions(python, entry.packages)
    return pythons, installed, missing


def take_turns(
    module: Any, entries: list[Entry], pythons: dict[str, Path], rounds: int, quick: bool
) -> Iterator[dict[str, Any]]:
    """Run every trial of a measure; in each round all tools run in turn, starting with the next one."""
    for turn in range(rounds):
        for options in module.plan(quick):
            for entry in entries[turn:] + entries[:turn]:
                if hasattr(module, "fits") and not module.fits(entry, options):
                    continue
                begun = time.monotonic()
                with trial(entry, pythons[entry.key]) as made:
                    result = module.drive(made, options, quick)
                kind = {"measure": _name(module), "peer": entry.key, "round": turn, "options": options}
                yield {**kind, "result": result}
                described = ", ".join(f"{key} {value}" for key, value in options.items())
                failed = f": {result['failed']}" if "failed" in result else ""
                took = time.monotonic() - begun
                print(
                    f"  {_name(module)} {turn + 1}/{rounds} {described}: {entry.title} {took:.1f} s{failed}",
                    flush=True,
                )


def _name(module: Any) -> str:
    return str(module.__name__).rpartition(".")[2]


if __name__ == "__main__":
    sys.exit(main())
