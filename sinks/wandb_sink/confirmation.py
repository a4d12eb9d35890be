"""What W&B's server must show of a run, beside its rows, once the run is finished there.

Its service tells nobody where the server turns down a picture's file or a change of parameters, tags or
notes: rows go on, and the finish is in good order. So the server is asked for each of them.
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
NO_FILE = "0"  # the digest the server gives a name that was announced and never uploaded


@dataclass(eq=False)
class Owed:
    """What one event brought. It was turned down where the server still shows what was there before.

    ``file``: the server's name of a file; else ``is_held`` says of W&B's public run whether it has it.
    """

    event: RunEvent
    what: str
    send: Callable[[wandb.Run], object]
    file: str | None = None
    is_held: Callable[[Any], bool] = lambda shown: True
    is_lacking: bool = False
    sent_again: bool = False


def image(event: RunEvent, run: wandb.Run, key: str, row: int) -> tuple[wandb.Image, Owed]:
    """Hand over a picture for a row; its file's name there depends on these alone, so it may come again."""
    import wandb

    path = Path(event.data["path"])

    def send(run: wandb.Run) -> wandb.Image:
        made = wandb.Image(str(path))
        made.bind_to_run(run, key, row)
        return made

    made = send(run)
    return made, Owed(event, f"image {key}", send, file=made.to_json(run)["path"])


def parameters(event: RunEvent, run: wandb.Run, values: Mapping[str, Any]) -> Owed | None:
    """Set values of the run's config; None where that changes nothing."""
    before = {name: run.config.get(name, _ABSENT) for name in values}
    before = {name: old for name, old in before.items() if old is _ABSENT or old != values[name]}

    def send(run: wandb.Run) -> None:
        run.config.update(dict(values), allow_val_change=True)

    def is_held(shown: Any) -> bool:  # all or nothing: they are sent as one
        return any(shown.config.get(name, _ABSENT) != old for name, old in before.items())

    send(run)
    return Owed(event, "parameters", send, is_held=is_held) if before else None


def tags(event: RunEvent, run: wandb.Run, added: Sequence[str]) -> Owed | None:
    """Add tags; None where the run has them."""
    fresh = set(added) - set(run.tags or ())

    def send(run: wandb.Run) -> None:
        run.tags = tuple(dict.fromkeys([*(run.tags or ()), *added]))

    send(run)
    return Owed(event, "tags", send, is_held=lambda shown: bool(fresh & set(shown.tags))) if fresh else None


def notes(event: RunEvent, run: wandb.Run, text: str) -> Owed | None:
    """Set the run's notes; None where they are that."""
    before = run.notes or ""
    if before == text:
        return None

    def send(run: wandb.Run) -> None:
        run.notes = text

    send(run)
    return Owed(event, "notes", send, is_held=lambda shown: (shown.notes or "") != before)


def lacking(shown: Any, owed: Sequence[Owed]) -> list[Owed]:
    """Return what W&B's public run does not show; raises as W&B's API does."""
    names = [item.file for item in owed if item.file]
    there = {file.name for file in shown.files(names) if file.md5 != NO_FILE} if names else set()
    return [item for item in owed if (item.file not in there if item.file else not item.is_held(shown))]
