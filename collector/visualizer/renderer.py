"""Draws runs in a process of its own, one after the other, at the lowest priority.

Started as ``python -P -m neural.tracking.collector.visualizer.renderer <niceness>``. In: JSON lines
``{"folder": path}``; end of input means leave. Out: ``{"drew": name}`` after each picture, ``{"failed":
name, "why": …, "passing": whether it is worth trying again soon}``, and ``{"done": seconds}`` with the
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

LONGEST_S = 1800  # a renderer whose watcher was killed while it hung must not stay for ever
LITTER_AFTER_S = 600.0
PASSING = (errno.ENOSPC, errno.EDQUOT, errno.ENOENT)  # a full disk, plots/ removed meanwhile: not for ever

Say = Callable[[dict[str, Any]], None]


def draw_run(folder: Path, say: Say) -> None:
    """Draw the automatic pictures of a run into its ``plots/``; one that fails does not stop the others."""
    from neural.tracking.errors import FormatError
    from neural.tracking.figures.run import run_pictures
    from neural.tracking.figures.saving import save
    from neural.tracking.figures.visualizer import INDIVIDUAL
    from neural.tracking.reader.run import Run

    plots = folder / FOLDER
    plots.mkdir(exist_ok=True)
    _sweep(plots)
    try:
        pictures = run_pictures(Run(folder), pages=1)
    except FormatError as error:
        there = [path.stem.removeprefix(AUTOMATIC) for path in sorted(plots.glob(f"{AUTOMATIC}*.png"))]
        for name in there or [INDIVIDUAL]:
            _save_note(plots / f"{AUTOMATIC}{name}.png", name, error, say)
        raise
    for picture in pictures:
        signal.alarm(LONGEST_S)
        path = plots / f"{AUTOMATIC}{picture.name}.png"
        try:
            save(picture.draw(), path)
            say({"drew": picture.name})
        except OSError as error:
            told = {"failed": picture.name, "folder": folder.name, "why": str(error)}
            say({**told, "passing": error.errno in PASSING})
        except Exception as error:  # noqa: BLE001 - drawing is a library's work on a user's values: whatever it is, the other pictures want to be drawn, and this one says why it was not
            say({"failed": picture.name, "folder": folder.name, "why": f"{type(error).__name__}: {error}"})
            _save_note(path, picture.name, error, say)


def _save_note(path: Path, name: str, error: Exception, say: Say) -> None:
    """Put a note where the picture would be: an old picture would pass for a new one."""
    from neural.tracking.figures.axes import note_figure
    from neural.tracking.figures.saving import save
    from neural.tracking.figures.style import house_style
    from neural.tracking.figures.texts import shown

    try:
        with house_style():
            why = shown(f"{type(error).__name__}: {error}".replace("\n", " "), 90)
            save(note_figure(f"this picture could not be drawn\n{why}", title=name), path)
    except Exception as second:  # noqa: BLE001 - as above; that it failed was told already
        say({"failed": name, "folder": path.parent.parent.name, "why": f"nor could its note: {second}"})


def _sweep(plots: Path) -> None:
    """Remove what a renderer left that was killed while it wrote."""
    for path in plots.glob(".tmp-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > LITTER_AFTER_S:
                path.unlink()


def say(line: dict[str, Any]) -> None:
    """Tell the watcher; when it is gone, so is the reason to draw."""
    try:
        os.write(1, json.dumps(line).encode() + b"\n")
    except BrokenPipeError:
        raise SystemExit(0) from None


def main() -> int:
    """Draw what is asked for until the input ends."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s")
    yield_everything(int(sys.argv[1]))
    spent_s = 0.0
    for line in sys.stdin:
        folder = Path(json.loads(line)["folder"])
        try:
            draw_run(folder, say)
        except Exception as error:  # noqa: BLE001 - a run that cannot be read must not keep others from being drawn
            told = {"failed": "all of them", "folder": folder.name, "why": f"{type(error).__name__}: {error}"}
            say({**told, "passing": isinstance(error, OSError) and error.errno in PASSING})
        signal.alarm(0)
        gc.collect()  # figures are cycles: without this a round's are kept until long after
        now_s = time.process_time()
        say({"done": round(now_s - spent_s, 3)})
        spent_s = now_s
    return 0


if __name__ == "__main__":
    sys.exit(main())
