"""Checks that W&B's server has what a run consists of beside its rows, once the run is finished there.

W&B's service does not report that the server refused the file of an image, or a change of parameters, tags or
notes. The rows continue and the finish succeeds. So the sink asks the server for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural.tracking.sinks.base import RunEvent

if TYPE_CHECKING:
    import wandb

_ABSENT = object()
NO_FILE = "0"  # the server's digest of a file that was announced and never uploaded


@dataclass(eq=False)
class Unconfirmed:
    """What one event changes. If the server still shows the old state, it refused the change.

    ``what`` names it in messages; ``send`` sends it again. ``file`` is the server's name of a file; without
    one, ``is_shown`` returns whether W&B's public run has the change.
    """

    event: RunEvent
    what: str
    send: Callable[[wandb.Run], object]
    file: str | None = None
    is_shown: Callable[[Any], bool] = lambda shown: True
    is_missing: bool = False
    sent_again: bool = False


def image(event: RunEvent, run: wandb.Run, key: str, row: int) -> tuple[wandb.Image, Unconfirmed]:
    """Hand an image for a row to W&B's service. A repeat is safe: equal arguments give the same file name."""
    import wandb

    path = Path(event.data["path"])

    def send(run: wandb.Run) -> wandb.Image:
        made = wandb.Image(str(path))
        made.bind_to_run(run, key, row)
        return made

    made = send(run)
    return made, Unconfirmed(event, f"image {key}", send, file=made.to_json(run)["path"])


def parameters(event: RunEvent, run: wandb.Run, values: Mapping[str, Any]) -> Unconfirmed | None:
    """Set values of the run's config; return None if that changes nothing."""
    before = {name: run.config.get(name, _ABSENT) for name in values}
    before = {name: old for name, old in before.items() if old is _ABSENT or old != values[name]}

    def send(run: wandb.Run) -> None:
        run.config.update(dict(values), allow_val_change=True)

    def is_shown(shown: Any) -> bool:  # one request has all of them, so one new value proves all
        return any(shown.config.get(name, _ABSENT) != old for name, old in before.items())

    send(run)
    return Unconfirmed(event, "parameters", send, is_shown=is_shown) if before else None


def tags(event: RunEvent, run: wandb.Run, added: Sequence[str]) -> Unconfirmed | None:
    """Add tags; return None if the run has them already."""
    fresh = set(added) - set(run.tags or ())

    def send(run: wandb.Run) -> None:
        run.tags = tuple(dict.fromkeys([*(run.tags or ()), *added]))

    send(run)
    if not fresh:
        return None
    return Unconfirmed(event, "tags", send, is_shown=lambda shown: bool(fresh & set(shown.tags)))


def notes(event: RunEvent, run: wandb.Run, text: str) -> Unconfirmed | None:
    """Set the run's notes; return None if that changes nothing."""
    before = run.notes or ""
    if before == text:
        return None

    def send(run: wandb.Run) -> None:
        run.notes = text

    send(run)
    return Unconfirmed(event, "notes", send, is_shown=lambda shown: (shown.notes or "") != before)


def missing(shown: Any, unconfirmed: Sequence[Unconfirmed]) -> list[Unconfirmed]:
    """Return what W&B's public run does not show. Asks the server for files; raises W&B's own errors."""
    names = [item.file for item in unconfirmed if item.file]
    there = {file.name for file in shown.files(names) if file.md5 != NO_FILE} if names else set()
    return [each for each in unconfirmed if (each.file not in there if each.file else not each.is_shown(shown))]
