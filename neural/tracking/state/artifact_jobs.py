"""The jobs of artifact events that the collector still has to store: one durable file for each job.

They are in ``<state>/artifact-jobs``. The store makes a job before its cursor passes the event. The artifact
store removes the job once the note with the outcome is durable. So the job exists until the outcome is safe,
even if the log no longer holds the event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from neural.tracking.core.copying import identity_from_event
from neural.tracking.core.files import fsync_dir, fsync_upwards, json_checksum, read_json, write_json
from neural.tracking.core.names import check_artifact_name, is_hex_id
from neural.tracking.errors import FormatError
from neural.tracking.formats.artifact_event import refusal
from neural.tracking.state.paths import State

FORMAT = 1
_NAME = re.compile(r"([0-9a-f]{32})-(\d+)\.json")


class ArtifactJob(NamedTuple):
    """One artifact event with its run and session; every field is checked, also for a remote sender."""

    uid: bytes
    folder: str  # of the run
    session: str
    seq: int
    time_ns: int
    info: Mapping[str, Any]  # the session's description from its HELLO
    name: str
    token: str
    how: str
    size: int
    files: int | None
    versioned: bool
    is_figure: bool  # it is a figure, which also gets a file in plots/
    source: str
    spool: str  # the path of the spool on the host of the call
    stat: tuple[int, int, int, int] | None
    lost: str | None

    @property
    def order(self) -> tuple[int, str, int]:
        """The sort key of jobs: they are done in the order of the calls."""
        return self.time_ns, self.session, self.seq

    @property
    def key(self) -> tuple[bytes, str]:
        """The run and the artifact name, which only one job at a time may change."""
        return self.uid, self.name

    def spooled(self, state: State) -> Path:
        """Return the path of its snapshot in the spool; it may not exist before the upload is complete."""
        return state.spool / self.session / self.token


def make(
    uid: bytes,
    folder: str,
    session: str,
    seq: int,
    time_ns: int,
    info: Mapping[str, Any],
    data: Mapping[str, Any],
) -> ArtifactJob:
    """Return the job for an artifact event.

    Raises:
        FormatError: ``data`` or ``session`` cannot be an artifact event's.
    """
    why_not = refusal(data) or (None if is_hex_id(session) else "its session is none")
    if why_not is not None:
        raise FormatError(f"artifact event {seq}: {why_not}")
    lost = data.get("lost")
    return ArtifactJob(
        uid=uid,
        folder=folder,
        session=session,
        seq=seq,
        time_ns=time_ns,
        info=info,
        name=check_artifact_name(data["name"]),
        token=data["token"],
        how=data["how"],
        size=data["size"],
        files=data.get("files"),
        versioned=data.get("versioned") is not False,
        is_figure=data.get("type") == "figure",
        source=str(data.get("source", "")),
        spool=str(data.get("spool", "")),
        stat=identity_from_event(data.get("stat")),
        lost=lost if isinstance(lost, str) else None,
    )


def write(state: State, job: ArtifactJob) -> None:
    """Write the job to the disk, durable on return; writing the same job again changes nothing. Blocks.

    Raises:
        OSError: the job is not durable.
    """
    folder = state.artifact_jobs
    if not folder.is_dir():
        folder.mkdir(mode=0o700, exist_ok=True)
        fsync_upwards(folder.parent)
    value = {"format": FORMAT, **job._asdict(), "uid": job.uid.hex(), "info": dict(job.info)}
    write_json(_path(state, job), {**value, "crc": json_checksum(value)}, mode=0o600)


def waiting(state: State) -> list[tuple[str, int]]:
    """Return session and event number of every job, in no particular order."""
    try:
        names = list(state.artifact_jobs.iterdir())
    except FileNotFoundError:
        return []
    found = [_NAME.fullmatch(path.name) for path in names]
    return [(match[1], int(match[2])) for match in found if match]


def read(state: State, session: str, seq: int) -> ArtifactJob | None:
    """Return the job of an event; None if there is none (any more).

    Raises:
        FormatError: it is damaged, or of another release.
        OSError: it cannot be read.
    """
    path = state.artifact_jobs / f"{session}-{seq}.json"
    try:
        value = read_json(path)
        if value is None:
            return None
        crc = value.pop("crc")
        if crc != json_checksum(value) or value.pop("format") != FORMAT:
            raise FormatError(f"{path} is damaged, or another release wrote it")
        value["uid"] = bytes.fromhex(value["uid"])
        value["stat"] = identity_from_event(value["stat"])
        return ArtifactJob(**value)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(f"{path} is not a job: {error}") from error


def remove(state: State, job: ArtifactJob) -> None:
    """Remove the file of a finished job, durably; a missing file is no error. Blocks; raises OSError."""
    _path(state, job).unlink(missing_ok=True)
    fsync_dir(state.artifact_jobs)


def _path(state: State, job: ArtifactJob) -> Path:
    return state.artifact_jobs / f"{job.session}-{job.seq}.json"
