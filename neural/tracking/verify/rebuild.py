"""Rebuilds the views of a run folder from parts, tails and event lines, and removes replaced parts."""

from __future__ import annotations

import contextlib
from pathlib import Path

from neural.tracking.errors import FormatError
from neural.tracking.formats import ledgers
from neural.tracking.formats.run_file import RUN_FILE, RunFile, write_described
from neural.tracking.reader import json_views, part_list
from neural.tracking.reader.facts import read_lines
from neural.tracking.reader.run import Run
from neural.tracking.verify.verify import verify_run


def rebuild_run(folder: Path | str, *, force: bool = False) -> list[Path]:
    """Make every JSON view of a run folder again; return the files that changed or were missing.

    ``run.json``, too, is made again if it is damaged or missing and the other files identify the run. Blocks:
    it reads the whole run.

    Args:
        folder: a run folder anywhere.
        force: also rebuild from damaged or incomplete files; then old views may hold more than the new ones.

    Raises:
        FormatError: files are damaged or events missing, and ``force`` is not set; the views remain unchanged.
        OSError: a view cannot be written.
    """
    run = Run(folder)
    repaired = _repair_run_file(run.folder)
    if not force:
        _check_whole(run.folder)
        part_list.clear_replaced(run.folder / "metrics")
    before = {name: _content(run.folder / f"{name}.json") for name in json_views.NAMES}
    json_views.write_views(run.folder, damaged="skip" if force else "raise")
    paths = [(run.folder / f"{name}.json", before[name]) for name in json_views.NAMES]
    return repaired + [path for path, old in paths if _content(path) != old]


def _repair_run_file(folder: Path) -> list[Path]:
    """Write ``run.json`` again if it does not identify the run and ledgers and event lines do."""
    with contextlib.suppress(FormatError):
        if RunFile.load(folder) is not None:
            return []
    uid = ledgers.owner(folder)
    lines = [line for line in read_lines(folder, []) if "info" in line and line["uid"] == (uid or b"").hex()]
    infos = [line["info"] for line in lines if isinstance(line["info"].get("opened_ns"), int)]
    if uid is None or not infos:
        return []
    first = min(infos, key=lambda info: int(info["opened_ns"]))
    write_described(folder, uid, first, first["opened_ns"])
    return [folder / RUN_FILE]


def _check_whole(folder: Path) -> None:
    report = verify_run(folder)
    missing = [f"events {first} to {last} are missing" for s in report.sessions for first, last in s.missing]
    if found := [*report.damages, *missing]:
        raise FormatError(f"{found[0]}; the views were not changed, they may be the only copy of what is lost")


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
