"""Makes every view of run folders anew from parts, tails and events lines, and removes replaced parts."""

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
    """Make every JSON view of a run folder anew; return the files that changed or were missing.

    Also ``run.json``, where it is damaged or gone and all else in the folder says whose run it is.

    Args:
        folder: a run's, wherever it lies.
        force: also where the truth is not whole, so that the old views may tell more than the new.

    Raises:
        FormatError: the truth is not whole and ``force`` is not given, or a part is damaged; views
            stay as they were.
        OSError: they cannot be written.
    """
    run = Run(folder)
    mended = _mend_run_file(run.folder)
    if not force:
        _check_whole(run.folder)
        part_list.clear_replaced(run.folder / "metrics")
    before = {name: _content(run.folder / f"{name}.json") for name in json_views.NAMES}
    json_views.write_views(run.folder, damaged="skip" if force else "raise")
    paths = [(run.folder / f"{name}.json", before[name]) for name in json_views.NAMES]
    return mended + [path for path, old in paths if _content(path) != old]


def _mend_run_file(folder: Path) -> list[Path]:
    """Write ``run.json`` anew where it does not say whose run this is, and ledgers and lines do."""
    with contextlib.suppress(FormatError):
        if RunFile.load(folder) is not None:
            return []
    uid = ledgers.owner(folder)
    lines = [line for line in read_lines(folder, []) if "info" in line and line["uid"] == (uid or b"").hex()]
    told = [line["info"] for line in lines if isinstance(line["info"].get("opened_ns"), int)]
    if uid is None or not told:
        return []
    first = min(told, key=lambda info: int(info["opened_ns"]))
    write_described(folder, uid, first, first["opened_ns"])
    return [folder / RUN_FILE]


def _check_whole(folder: Path) -> None:
    report = verify_run(folder)
    missing = [f"events {first} to {last} are missing" for s in report.sessions for first, last in s.missing]
    if found := [*report.damages, *missing]:
        raise FormatError(f"{found[0]}; its views may be all that tells of it, and stay as they are")


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
