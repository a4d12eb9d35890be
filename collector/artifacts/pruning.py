"""Removes versions from run folders; a durable note says so before. The functions block on the disk."""

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
from neural.tracking.formats import artifact_event, event_lines, manifest
from neural.tracking.reader import json_views
from neural.tracking.reader.artifacts import ArtifactCall
from neural.tracking.reader.facts import read_facts
from neural.tracking.reader.run import Run
from neural.tracking.state import spool
from neural.tracking.state.tombstones import AFTER, Tombstones


def select_versions(folder: Path, wanted: Collection[tuple[str, int]]) -> list[ArtifactCall]:
    """Return the versions to remove, selected by session and number of their events.

    A version whose note exists already may be removed again: a kill came between the note and the removal.

    Raises:
        ValueError: one of them is no version, or is its name's newest; or the run's event lines are damaged.
    """
    facts = read_facts(folder)
    if facts.damages:
        raise ValueError(f"nothing is removed of a damaged run: {facts.damages[0]}")
    artifacts = facts.artifacts
    newest = {name: artifacts.versions(name)[-1:] for name in artifacts.names()}
    versions = {(entry.session, entry.seq): entry for entry in artifacts.entries if entry.version is not None}
    chosen = []
    for key in sorted(wanted):
        entry = versions.get(key)
        if entry is None:
            raise ValueError(f"event {key[1]} of session {key[0][:8]} made no version")
        if entry in newest.get(entry.name, []):
            raise ValueError(f"version {entry.version} of {entry.name} is its newest, which stays")
        chosen.append(entry)
    return chosen


async def record_pruned(
    sequencer: Sequencer,
    tombstones: Tombstones,
    run: Run,
    entries: Sequence[ArtifactCall],
    applied: Callable[[], Position],
    timeout_s: float,
) -> None:
    """Write notes that these versions are removed, and wait until the run folder has the notes.

    Raises:
        TimeoutError: the store did not apply the notes within ``timeout_s`` seconds.
    """
    info = {"dir": run.folder.name, "name": run.name}
    # A run may have been removed and put back from a copy: the notes are for the folder that is there now.
    newest = await asyncio.to_thread(tombstones.newest, run.uid)
    after = {AFTER: newest} if newest else {}
    notes = [
        sequencer.late_note(
            bytes.fromhex(e.session), run.uid, {**info, "rank": e.rank}, artifact_event.PRUNED, str(e.seq),
            name=e.name, version=e.version, **after,
        )
        for e in entries
    ]  # fmt: skip
    positions = await asyncio.gather(*notes)
    deadline = time.monotonic() + timeout_s
    while positions and applied() < max(positions):
        if time.monotonic() > deadline:
            raise TimeoutError("the store did not apply the notes in time; nothing was removed")
        await asyncio.sleep(0.01)


def record_in_copy(folder: Path, entries: Sequence[ArtifactCall]) -> None:
    """Write the notes into a folder to which no store writes, and update its views.

    The notes get a file of their own: in a copy made with hard links, the other files are the original's as
    well.

    Raises:
        OSError: they were not written.
    """
    noted = [
        event_lines.note_line(
            entry.session,
            {
                "kind": artifact_event.PRUNED,
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


def remove_versions(folder: Path, entries: Sequence[ArtifactCall]) -> int:
    """Remove the files of these versions; return how many versions had files."""
    removed = 0
    for entry in entries:
        name = check_artifact_name(entry.name)  # the name comes from a file that anybody may have written
        versions = inside(folder, "versions", name)
        path = versions / version_name(entry.version or 0, name)
        removed += path.exists()
        spool.remove(path)
        spool.remove(path.with_name(path.name + manifest.SUFFIX))
        fsync_dir(versions)
    return removed
