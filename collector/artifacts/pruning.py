"""Taking versions out of run folders; the note that says so is durable before."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from neural.tracking.collector.artifacts.version_numbers import version_name
from neural.tracking.collector.ingest.sequencer import Sequencer
from neural.tracking.collector.log.sessions import Position
from neural.tracking.core.files import atomic_write, fsync_dir, inside
from neural.tracking.core.names import check_artifact_name
from neural.tracking.formats import event_lines, manifest
from neural.tracking.reader import json_views
from neural.tracking.reader.artifacts import ArtifactCall
from neural.tracking.reader.facts import read_facts
from neural.tracking.reader.run import Run
from neural.tracking.state import artifact_jobs, spool
from neural.tracking.state.tombstones import AFTER, Tombstones


def chosen(folder: Path, wanted: Collection[tuple[str, int]]) -> list[ArtifactCall]:
    """Return the versions to remove, by session and number of their events.

    One that has its note already, because a kill came between note and removal, may be removed again.

    Raises:
        ValueError: one of them is no version, or its name's newest; or the lines that would tell are damaged.
    """
    facts = read_facts(folder)
    if facts.damages:
        raise ValueError(f"nothing is removed of a damaged run: {facts.damages[0]}")
    artifacts = facts.artifacts
    newest = {name: artifacts.versions(name)[-1:] for name in artifacts.names()}
    known = {(entry.session, entry.seq): entry for entry in artifacts.entries if entry.version is not None}
    found = []
    for key in sorted(wanted):
        entry = known.get(key)
        if entry is None:
            raise ValueError(f"event {key[1]} of session {key[0][:8]} made no version")
        if entry in newest.get(entry.name, []):
            raise ValueError(f"version {entry.version} of {entry.name} is its newest, which stays")
        found.append(entry)
    return found


async def note(
    sequencer: Sequencer,
    tombstones: Tombstones,
    run: Run,
    entries: Sequence[ArtifactCall],
    applied: Callable[[], Position],
    timeout_s: float,
) -> None:
    """Note that these versions go, and wait until the run folder says so.

    Raises:
        TimeoutError: the store did not apply the notes in time.
    """
    info = {"dir": run.folder.name, "name": run.name}
    # Of a run that was removed and put back from a copy: this is meant for the folder that is there.
    newest = await asyncio.to_thread(tombstones.newest, run.uid)
    after = {AFTER: newest} if newest else {}
    notes = [
        sequencer.late_note(
            bytes.fromhex(e.session), run.uid, {**info, "rank": e.rank}, artifact_jobs.PRUNED, str(e.seq),
            name=e.name, version=e.version, **after,
        )
        for e in entries
    ]  # fmt: skip
    positions = await asyncio.gather(*notes)
    deadline = time.monotonic() + timeout_s
    while positions and applied() < max(positions):
        if time.monotonic() > deadline:
            raise TimeoutError("the store has not noted what is to be removed; nothing was")
        await asyncio.sleep(0.01)


def note_in_copy(folder: Path, entries: Sequence[ArtifactCall]) -> None:
    """Write the notes into a folder that no store writer writes to, and show them in its views.

    Into a file of their own: in a copy made with hard links, the others are the original's as well.

    Raises:
        OSError: they were not written.
    """
    noted = [
        event_lines.note_line(
            entry.session,
            {
                "kind": artifact_jobs.PRUNED,
                "key": str(entry.seq),
                "time_ns": time.time_ns(),
                "name": entry.name,
                "version": entry.version,
            },
        )
        for entry in entries
        if not entry.pruned
    ]
    if noted:
        atomic_write(folder / f"events-pruned-{os.urandom(4).hex()}.jsonl", b"".join(noted))
        json_views.write_views(folder, ("artifacts", "metadata", "summary"))


def remove(folder: Path, entries: Sequence[ArtifactCall]) -> int:
    """Remove the files of these versions; return of how many there were any."""
    removed = 0
    for entry in entries:
        name = check_artifact_name(entry.name)  # the notes may be anybody's
        versions = inside(folder, "versions", name)
        path = versions / version_name(entry.version or 0, name)
        removed += path.exists()
        spool.remove(path)
        spool.remove(path.with_name(path.name + manifest.SUFFIX))
        fsync_dir(versions)
    return removed
