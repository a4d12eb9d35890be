"""Makes every view of run folders anew from parts, tails and events lines."""

from __future__ import annotations

from pathlib import Path

from neural.tracking.accounting.verify import verify_run
from neural.tracking.errors import FormatError
from neural.tracking.reader import views
from neural.tracking.reader.run import Run, list_runs


def rebuild_run(folder: Path | str, *, force: bool = False) -> list[Path]:
    """Make every JSON view of a run folder anew; return the files that changed or were missing.

    Args:
        folder: a run's, wherever it lies.
        force: also where the truth is not whole, so that the old views may tell more than the new.

    Raises:
        FormatError: the truth is not whole and ``force`` is not given, or a part is damaged; views
            stay as they were.
        OSError: they cannot be written.
    """
    run = Run(folder)
    if not force:
        _check_whole(run.folder)
    before = {name: _content(run.folder / f"{name}.json") for name in views.NAMES}
    views.write_views(run.folder)
    paths = [(run.folder / f"{name}.json", before[name]) for name in views.NAMES]
    return [path for path, old in paths if _content(path) != old]


def rebuild_base(base_dir: Path | str) -> dict[Path, list[Path]]:
    """Rebuild every run in ``base_dir``; return the changed files by run folder. Raises as rebuild_run."""
    return {run.folder: rebuild_run(run.folder) for run in list_runs(base_dir)}


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
