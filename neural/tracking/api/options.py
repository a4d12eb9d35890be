"""Checks the settings of a run for parts other than the tracker; the open event keeps them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from neural.tracking.core.names import check_tag, one_or_many
from neural.tracking.errors import ConfigError
from neural.tracking.sink_state.config import backend_environment, check_backends

MAX_EVERY = 10**9

MAX_NOTES_BYTES = 64 << 10
MAX_TAGS = 256


def run_settings(
    auto_visualize: bool,
    visualize_every: int | None,
    backend: str | Iterable[str] | None,
    base_dir: Path,
    *,
    remote: bool = False,
) -> dict[str, Any]:
    """Return the settings as the open event keeps them; ``remote``: the collector is on another host.

    Raises:
        TypeError: a setting is of the wrong type.
        ConfigError: an unknown backend, or ``visualize_every`` is out of range.
    """
    if not isinstance(auto_visualize, bool):
        raise TypeError(f"auto_visualize must be True or False, not {auto_visualize!r}")
    if visualize_every is not None:
        if isinstance(visualize_every, bool) or not isinstance(visualize_every, int):
            raise TypeError(f"visualize_every must be a number of steps, not {visualize_every!r}")
        if not 1 <= visualize_every <= MAX_EVERY:
            raise ConfigError(
                f"visualize_every is {visualize_every}; it must be at least 1 step, and at most {MAX_EVERY}"
            )
    return {
        "auto_visualize": auto_visualize,
        "visualize_every": visualize_every,
        "backend": check_backends(backend, base_dir, elsewhere=remote),
        "env": backend_environment(),
    }


def check_tags(tags: str | Iterable[str]) -> list[str]:
    """Return the tags without repetitions, in the given order.

    Raises:
        TypeError, InvalidNameError: a tag is not text, empty, over 256 bytes, or has a control character.
        ConfigError: more than 256 tags.
    """
    checked = list(dict.fromkeys(check_tag(tag) for tag in one_or_many(tags)))
    if len(checked) > MAX_TAGS:
        raise ConfigError(f"{len(checked)} tags at once, over the limit of {MAX_TAGS}")
    return checked


def check_notes(notes: str | None) -> str | None:
    """Return the notes; raise TypeError if they are not text, and ConfigError over 64 KiB."""
    if notes is None:
        return None
    if not isinstance(notes, str):
        raise TypeError(f"notes must be text, not {type(notes).__name__}")
    data = notes.encode("utf-8", "backslashreplace")
    if len(data) > MAX_NOTES_BYTES:
        raise ConfigError(f"notes are {len(data)} bytes long, over the limit of {MAX_NOTES_BYTES} bytes")
    return data.decode()


def check_group(group: str | None) -> str | None:
    """Return the group's name; raise as for a tag."""
    return None if group is None else check_tag(group, "group")
