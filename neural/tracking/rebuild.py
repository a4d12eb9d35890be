"""Makes every view of run folders anew from parts, tails and events lines."""

from __future__ import annotations

from pathlib import Path

from neural.tracking import views
from neural.tracking.reader import Run, list_runs


def rebuild_run(folder: Path | str) -> list[Path]:
    """Make every JSON view of a run folder anew; return the files that changed or were missing.

    Raises:
        FormatError: a part is damaged; views that need it stay as they were.
        OSError: they cannot be written.
    """
    run = Run(folder)
    before = {name: _content(run.folder / f"{name}.json") for name in views.NAMES}
    views.write_views(run.folder)
    paths = [(run.folder / f"{name}.json", before[name]) for name in views.NAMES]
    return [path for path, old in paths if _content(path) != old]


def rebuild_base(base_dir: Path | str) -> dict[Path, list[Path]]:
    """Rebuild every run in ``base_dir``; return the changed files by run folder. Raises as rebuild_run."""
    return {run.folder: rebuild_run(run.folder) for run in list_runs(base_dir)}


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
