"""Draws runs in a process of its own, one after the other, at the lowest priority.

It is started as ``python -P -m neural.tracking.collector.visualizer.renderer <niceness>``. Input: JSON lines
``{"folder": path}``; the end of the input means: leave. Output: ``{"drew": name}`` after each plot,
``{"failed": name, "why": …, "passing": whether a try may soon succeed}``, and ``{"done": seconds}`` with the
processor time of the round.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neural.tracking.core.os_support import yield_everything
from neural.tracking.figures.saving import AUTOMATIC, FOLDER

LONGEST_S = 1800  # a hung renderer whose watcher was killed must not stay for ever
STALE_AFTER_S = 600.0
# a full disk, or plots/ was removed: a later try may succeed
PASSING = (errno.ENOSPC, errno.EDQUOT, errno.ENOENT)

Report = Callable[[dict[str, Any]], None]


def draw_run(folder: Path, report: Report) -> None:
    """Draw the automatic plots of a run into its ``plots/``; a failure does not stop the other plots.

    Blocks while it draws, for seconds or minutes.

    Raises:
        FormatError: the run cannot be read.
        OSError: ``plots/`` cannot be created.
    """
    from neural.tracking.errors import FormatError
    from neural.tracking.figures.run import run_plots
    from neural.tracking.figures.saving import save
    from neural.tracking.figures.visualizer import INDIVIDUAL
    from neural.tracking.reader.run import Run

    plots = folder / FOLDER
    plots.mkdir(exist_ok=True)
    _remove_stale(plots)
    try:
        found = run_plots(Run(folder), pages=1)
    except FormatError as error:
        existing = [path.stem.removeprefix(AUTOMATIC) for path in sorted(plots.glob(f"{AUTOMATIC}*.png"))]
        for name in existing or [INDIVIDUAL]:
            _save_note(plots / f"{AUTOMATIC}{name}.png", name, error, report)
        raise
    for plot in found:
        signal.alarm(LONGEST_S)
        path = plots / f"{AUTOMATIC}{plot.name}.png"
        try:
            save(plot.draw(), path)
            report({"drew": plot.name})
        except OSError as error:
            failure = {"failed": plot.name, "folder": folder.name, "why": str(error)}
            report({**failure, "passing": error.errno in PASSING})
        except Exception as error:  # noqa: BLE001 - a library draws a user's values: no failure may stop the others
            report({"failed": plot.name, "folder": folder.name, "why": f"{type(error).__name__}: {error}"})
            _save_note(path, plot.name, error, report)


def _save_note(path: Path, name: str, error: Exception, report: Report) -> None:
    """Put a note in place of the plot: an old plot would be taken for a new one."""
    from neural.tracking.figures.axes import note_figure
    from neural.tracking.figures.saving import save
    from neural.tracking.figures.style import figure_style
    from neural.tracking.figures.texts import shown

    try:
        with figure_style():
            why = shown(f"{type(error).__name__}: {error}".replace("\n", " "), 90)
            save(note_figure(f"this plot could not be drawn\n{why}", title=name), path)
    except Exception as second:  # noqa: BLE001 - as above; the failure itself is reported already
        report({"failed": name, "folder": path.parent.parent.name, "why": f"nor could its note: {second}"})


def _remove_stale(plots: Path) -> None:
    """Remove the temporary files of a renderer that was killed while it wrote."""
    for path in plots.glob(".tmp-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_AFTER_S:
                path.unlink()


def report(line: dict[str, Any]) -> None:
    """Send a line to the watcher; leave if the watcher is gone, because nobody needs the plots then."""
    try:
        os.write(1, json.dumps(line).encode() + b"\n")
    except BrokenPipeError:
        raise SystemExit(0) from None


def main() -> int:
    """Draw the runs that the input names until the input ends. Blocks until then."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s")
    yield_everything(int(sys.argv[1]))
    spent_s = 0.0
    for line in sys.stdin:
        folder = Path(json.loads(line)["folder"])
        try:
            draw_run(folder, report)
        except Exception as error:  # noqa: BLE001 - a run that cannot be read must not keep others from being drawn
            failure = {
                "failed": "all of them",
                "folder": folder.name,
                "why": f"{type(error).__name__}: {error}",
            }
            report({**failure, "passing": isinstance(error, OSError) and error.errno in PASSING})
        signal.alarm(0)
        gc.collect()  # figures are reference cycles: without this, those of a round stay in memory for long
        now_s = time.process_time()
        report({"done": round(now_s - spent_s, 3)})
        spent_s = now_s
    return 0


if __name__ == "__main__":
    sys.exit(main())
