"""Finds what would harm trainings on this machine and in this folder; each finding has advice."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from importlib import metadata as distributions
from pathlib import Path
from typing import Any

from neural.tracking import __version__
from neural.tracking.core import os_support, ownership
from neural.tracking.core.config import agent_config, collector_config
from neural.tracking.core.files import read_json
from neural.tracking.doctor import remote as remotely
from neural.tracking.doctor.finding import NOTE, OK, PROBLEM, Finding
from neural.tracking.errors import CollectorUnreachableError, ConfigError
from neural.tracking.sink_state.config import sink_configs
from neural.tracking.state import artifact_jobs
from neural.tracking.state.control_client import request
from neural.tracking.state.outbox_list import OutboxSummary, list_outboxes
from neural.tracking.state.paths import State
from neural.tracking.state.quarantine import list_quarantined

DISTRIBUTION = "neural-tracking"
LOW_SPACE_BYTES = 1 << 30
LOW_SPACE_SHARE = 0.05
OUTBOX_BYTES = 8 << 20  # one segment of it
LOW_INODES = 1000


def examine(base_dir: Path) -> Iterator[Finding]:
    """Yield a finding for each check; change nothing.

    Blocks: about 3 s if a collector holds the folder and does not answer, and again for a remote collector.
    """
    reported: set[tuple[str, str]] = set()
    for finding in _all_findings(base_dir):
        if (finding.level, finding.seen) not in reported:  # several checks may find the same damaged file
            yield finding
        reported.add((finding.level, finding.seen))


def _all_findings(base_dir: Path) -> Iterator[Finding]:
    yield _installation()
    yield _folder(base_dir)
    if not _existing(base_dir).is_dir():
        return
    state = State.for_base_dir(base_dir)
    yield _file_system(state)
    places = {place.stat().st_dev: place for place in (_existing(state.root), _existing(base_dir))}
    for place in places.values():
        yield from _space(place)
    yield _privacy(state)
    yield _sockets(state)
    yield from _configuration(base_dir)
    collector, answer = _collector(state)
    yield collector
    if answer is not None:
        yield _version(answer)
        yield from _collector_problems(answer)
    elif waiting := len(artifact_jobs.waiting(state)):
        seen = f"{waiting} of them wait for a collector, or for a failure to end"
        advice = "`ntrack collector start` stores them; if not, `ntrack status` shows the reason"
        yield Finding(NOTE, "artifacts", seen, advice)

    yield from remotely.examine(state, answer)
    yield _log_of(state)
    yield from _outboxes(state, answer is not None)
    yield from _quarantined(state)


def _installation() -> Finding:
    """Check that no other distribution owns files of the same package: each may overwrite the other's."""
    owners = sorted(set(_owners_of_package()) - {DISTRIBUTION})
    if owners:
        return Finding(
            PROBLEM,
            "installation",
            f"{', '.join(owners)} also installs neural/, so each may overwrite files of the other",
            f"keep one of them in this environment: pip uninstall {owners[0]}, then reinstall {DISTRIBUTION}",
        )
    try:
        version = distributions.version(DISTRIBUTION)
    except distributions.PackageNotFoundError:
        return Finding(NOTE, "installation", f"{DISTRIBUTION} runs from its sources, not installed")
    if version != __version__:
        return Finding(
            PROBLEM,
            "installation",
            f"{DISTRIBUTION} {version} is installed, but the running code is {__version__}",
            "reinstall it; a folder named neural/ beside your script may hide the installed package",
        )
    return Finding(OK, "installation", f"{DISTRIBUTION} {version}")


def _owners_of_package() -> Iterator[str]:
    for distribution in distributions.distributions():
        name = str(distribution.metadata["Name"] or "").lower().replace("_", "-")
        if any(str(file).startswith("neural/") for file in distribution.files or ()):
            yield name


def _folder(base_dir: Path) -> Finding:
    base = _existing(base_dir)
    if not base.is_dir():
        return Finding(
            PROBLEM, "base_dir", f"{base} is not a folder", "choose another --base-dir or NTRACK_DIR"
        )
    if os.statvfs(base).f_flag & os.ST_RDONLY:
        advice = "mount it writable, or choose another folder; stored runs can still be read"
        return Finding(PROBLEM, "base_dir", f"{base} is on a read-only file system", advice)
    if not os.access(base, os.W_OK | os.X_OK):
        advice = "choose another folder, or ask its owner for write permission"
        return Finding(PROBLEM, "base_dir", f"{base} is not writable", advice)
    if base != Path(os.path.abspath(base_dir)):
        return Finding(OK, "base_dir", f"{base_dir} does not exist yet and will be created")
    return Finding(OK, "base_dir", f"{base_dir} is writable")


def _file_system(state: State) -> Finding:
    name, local = os_support.file_system(_existing(state.base_dir))
    if local:
        return Finding(OK, "file system", f"{name}, local")
    return Finding(
        NOTE,
        "file system",
        f"{name} counts as a network file system: lock, log and outboxes are in {state.root}",
        "nothing to do on one host; if the disk is local, set NTRACK_FS=local and restart the collector",
    )


def _space(place: Path) -> Iterator[Finding]:
    usage = shutil.disk_usage(place)
    unit, name = (2**30, "GiB") if usage.total > 10 * 2**30 else (2**20, "MiB")
    free = f"{usage.free / unit:.1f} {name} free of {usage.total / unit:.1f} at {place}"
    # The reserve below which an outbox takes no more events, and the size of one outbox segment.
    if usage.free < min(LOW_SPACE_BYTES, LOW_SPACE_SHARE * usage.total) + OUTBOX_BYTES:
        yield Finding(
            PROBLEM,
            "disk space",
            f"{free}: too little, events of trainings are dropped and counted",
            "free some space; `ntrack runs ls` lists old runs, `ntrack runs rm` removes them",
        )
    else:
        yield Finding(OK, "disk space", free)
    inodes = os.statvfs(place)
    if inodes.f_files and inodes.f_favail < LOW_INODES:
        seen = f"only {inodes.f_favail} free inodes at {place}"
        yield Finding(PROBLEM, "inodes", seen, "remove many small files, or use another file system")


def _privacy(state: State) -> Finding:
    above = state.root.parent
    is_below_base = above == state.base_dir
    if not is_below_base and ownership.why_not_own(state.root) is None and (why := state.not_own_reason()):
        return Finding(PROBLEM, "state folder", why, "trainings and collectors refuse to start until then")
    try:
        status = state.root.lstat()
    except OSError:
        return Finding(OK, "state folder", f"{state.root} does not exist yet")
    if stat.S_ISLNK(status.st_mode):
        return Finding(PROBLEM, "state folder", f"{state.root} is a symbolic link", "remove the link")
    if status.st_uid != os.geteuid():
        advice = "only one user may write to a base_dir, others may read it; choose another base_dir"
        return Finding(PROBLEM, "state folder", f"{state.root} belongs to user {status.st_uid}", advice)
    if not os.access(state.root, os.W_OK | os.X_OK):
        advice = "make it writable for this user: until then no collector and no training can start"
        return Finding(PROBLEM, "state folder", f"{state.root} is not writable", advice)
    if status.st_mode & 0o077:
        advice = f"chmod 700 {state.root}"
        return Finding(PROBLEM, "state folder", f"{state.root} is open to other users", advice)
    return Finding(OK, "state folder", f"{state.root} is private")


def _sockets(state: State) -> Finding:
    folder = state.data_socket.parent
    if folder == state.root:
        return Finding(OK, "sockets", f"in {folder}")
    if folder.exists() and (folder.is_symlink() or folder.lstat().st_uid != os.geteuid()):
        advice = "remove it, or use a base_dir with a shorter path"
        return Finding(PROBLEM, "sockets", f"{folder} is not this user's own", advice)
    return Finding(NOTE, "sockets", f"the path of base_dir is long, so they are in {folder}")


def _configuration(base_dir: Path) -> Iterator[Finding]:
    for read in (agent_config, collector_config, sink_configs):
        try:
            read(base_dir)
        except (ConfigError, OSError) as error:
            yield Finding(PROBLEM, "settings", str(error), "correct it; until then nothing can start")


def _collector(state: State) -> tuple[Finding, dict[str, Any] | None]:
    held = state.collector_runs()
    try:
        answer = request(state, "status")
    except CollectorUnreachableError:
        answer = None
    holder = _lock_content(state)
    who = f"pid {holder.get('pid', '?')} on {holder.get('host', '?')}"
    if answer is not None:
        return Finding(OK, "collector", f"answers, pid {answer.get('pid')}"), answer
    if held:
        seen = f"{who} owns the folder but does not answer{_why_silent(holder)}"
        advice = (
            f"resume it with `kill -CONT {holder.get('pid', '<pid>')}`, or end it; nothing is lost meanwhile"
        )
        return Finding(PROBLEM, "collector", seen, advice), None
    if holder and os.path.exists(state.control_socket):
        seen = f"none runs; {who} died and left its lock file and sockets"
        return Finding(NOTE, "collector", seen, "nothing to do: the next collector takes over"), None
    return Finding(OK, "collector", "none runs; trackers start one when they need it"), None


def _why_silent(holder: dict[str, Any]) -> str:
    pid = holder.get("pid")
    if not isinstance(pid, int):
        return ""
    with contextlib.suppress(OSError, IndexError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return {"T": ": it is suspended", "D": ": it waits for a disk", "Z": ": it is a zombie"}.get(state, "")
    return ""


def _lock_content(state: State) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = read_json(state.lock)
        return found if isinstance(found, dict) else {}
    return {}


def _version(answer: dict[str, Any]) -> Finding:
    theirs = answer.get("version")
    if theirs == __version__:
        return Finding(OK, "versions", f"collector and this command are both {__version__}")
    return Finding(
        PROBLEM,
        "versions",
        f"the collector is {theirs}, this command {__version__}",
        "run `ntrack collector stop`; the next collector that starts is the installed version",
    )


def _collector_problems(answer: dict[str, Any]) -> Iterator[Finding]:
    disk = answer.get("disk") or {}
    if disk.get("state", "ok") != "ok":
        seen = f"the collector cannot write: {disk.get('error') or disk['state']}"
        yield Finding(PROBLEM, "log", seen, "free space or remount; it tries again automatically every 5 s")
    yield from _waiting_artifacts(answer.get("artifacts") or {})
    for worker in answer.get("workers") or ():
        if worker.get("last_error"):
            seen = f"{worker.get('name')} restarted {worker.get('restarts', 0)} times: {worker['last_error']}"
            advice = "it continues automatically; if it does not catch up, see collector.log"
            yield Finding(NOTE, "worker", seen, advice)


def _waiting_artifacts(status: dict[str, Any]) -> Iterator[Finding]:
    for held in status.get("held") or ():
        seen = f"those of {held['run']} wait, its folder cannot be used: {held['error']}"
        advice = "make the folder usable: the collector tries again automatically, at most a minute apart"
        yield Finding(PROBLEM, "artifacts", seen, advice)
    for why in status.get("damaged") or ():
        advice = "the snapshot remains in the spool of the state folder; copy it from there"
        yield Finding(PROBLEM, "artifacts", f"one cannot be stored: {why}", advice)
    if status.get("last_error"):
        advice = "fix the cause: the collector tries again automatically, at most a minute apart"
        yield Finding(NOTE, "artifacts", f"one waits: {status['last_error']}", advice)


def _log_of(state: State) -> Finding:
    """Check the newest 64 KiB of the collector's log for errors."""
    try:
        with state.daemon_log.open("rb") as file:
            file.seek(max(0, state.daemon_log.stat().st_size - (64 << 10)))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return Finding(OK, "collector.log", "none yet")
    errors = [line for line in lines if " ERROR " in line or " CRITICAL " in line]
    if not errors:
        return Finding(OK, "collector.log", "no errors")
    return Finding(
        NOTE, "collector.log", f"{len(errors)} errors, the last: {errors[-1][:160]}", str(state.daemon_log)
    )


def _outboxes(state: State, answered: bool) -> Iterator[Finding]:
    outboxes = list_outboxes(state)
    orphans = [outbox for outbox in outboxes if not outbox.live]
    damaged = [outbox for outbox in orphans if not outbox.readable]
    for outbox in damaged:
        seen = f"the session of {outbox.folder} is unknown: its session.json is damaged"
        yield Finding(PROBLEM, "outboxes", seen, "keep it; its events are readable, but not automatically")
    if left := [outbox for outbox in orphans if outbox.readable]:
        names = ", ".join(sorted({outbox.run for outbox in left})[:3])
        held = state.collector_runs()
        does = "the collector stores them once it answers" if held else "`ntrack collector start` stores them"
        advice = "" if answered else does
        whose = "trackers that have finished" if all(o.released for o in left) else "processes that are gone"
        seen = f"{_n(left)} left by {whose} ({names})"
        yield Finding(NOTE if answered else PROBLEM, "outboxes", seen + ", being stored" * answered, advice)
    if not orphans:
        live = f", {_n(outboxes)} in use" if outboxes else ""
        yield Finding(OK, "outboxes", f"nothing is left behind{live}")


def _quarantined(state: State) -> Iterator[Finding]:
    for run in list_quarantined(state):
        seen = f"the store cannot use {run.run}, so its events wait in {run.place}: {run.error}"
        advice = "make that folder writable for this user, or move it away: it is tried again automatically"
        yield Finding(PROBLEM, "quarantine", seen, advice)


def _n(outboxes: list[OutboxSummary]) -> str:
    return f"{len(outboxes)} outbox" + ("" if len(outboxes) == 1 else "es")


def _existing(path: Path) -> Path:
    path = Path(os.path.abspath(path))
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def worst(findings: list[Finding]) -> str:
    """Return the most severe level among the findings, ``ok`` if there are none."""
    levels = {finding.level for finding in findings}
    return PROBLEM if PROBLEM in levels else NOTE if NOTE in levels else OK
