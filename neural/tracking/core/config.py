"""Settings of every part: checked when they are created; unknown keys are refused.

A call's argument has precedence over the environment, the environment over ``<base_dir>/.ntrack/config.toml``,
and the file over the default. The file is optional.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from neural.tracking.core import ownership
from neural.tracking.core.address import check_address, check_listen
from neural.tracking.errors import ConfigError, did_you_mean

MODES = ("online", "offline", "disabled")
SECTIONS = ("agent", "collector", "sinks")  # of config.toml
_MIB = 1 << 20

C = TypeVar("C")


# No dataclasses here: importing that module costs more than this whole module, and every tracker would pay.


class AgentConfig:
    """Settings of the part inside the training process, section ``[agent]``; raises ConfigError."""

    __slots__ = (
        "block_timeout_s",
        "collector",
        "mode",
        "outbox_limit_bytes",
        "spool_limit_bytes",
        "when_full",
    )

    def __init__(
        self,
        *,
        mode: str = "online",
        outbox_limit_bytes: int = 4 << 30,
        spool_limit_bytes: int = 20 << 30,
        when_full: str = "drop",
        block_timeout_s: float = 60.0,
        collector: str | None = None,
    ) -> None:
        self.mode = _one_of("mode", mode, MODES)
        self.outbox_limit_bytes = int(_at_least("outbox_limit_bytes", outbox_limit_bytes, 4 * _MIB))
        self.spool_limit_bytes = int(_at_least("spool_limit_bytes", spool_limit_bytes, 0))
        self.when_full = _one_of("when_full", when_full, ("drop", "block"))
        self.block_timeout_s = _at_least("block_timeout_s", block_timeout_s, 0.0)
        self.collector = check_address("collector", collector)  # None: the local one


class CollectorConfig:
    """Settings of the daemon, section ``[collector]``; raises ConfigError."""

    __slots__ = (
        "drain_timeout_s",
        "drawing_niceness",
        "idle_exit_s",
        "listen",
        "lost_contact_s",
        "segment_bytes",
    )

    def __init__(
        self,
        *,
        segment_bytes: int = 64 * _MIB,
        idle_exit_s: float = 600.0,
        drain_timeout_s: float = 30.0,
        drawing_niceness: int = 19,
        listen: str | None = None,
        lost_contact_s: float = 60.0,
    ) -> None:
        self.segment_bytes = int(_at_least("segment_bytes", segment_bytes, 2 * _MIB))
        self.idle_exit_s = _at_least("idle_exit_s", idle_exit_s, 0.1)
        self.drain_timeout_s = _at_least("drain_timeout_s", drain_timeout_s, 0.1)
        self.drawing_niceness = int(_at_least("drawing_niceness", drawing_niceness, 0))
        self.listen = check_listen("listen", listen)  # None: this host only
        self.lost_contact_s = _at_least("lost_contact_s", lost_contact_s, 1.0)


def agent_config(base_dir: Path, environ: Mapping[str, str] = os.environ, **given: Any) -> AgentConfig:
    """Return the agent's settings from ``given`` (None means not given), environment, file and defaults.

    Raises:
        ConfigError: a value is out of range, a key is unknown, or the file cannot be used.
        OSError: the file cannot be read.
    """
    mode = environ.get("NTRACK_MODE")
    if mode and given.get("mode") is None:
        _one_of("NTRACK_MODE", mode, MODES)
    collector = environ.get("NTRACK_COLLECTOR")
    if collector:
        check_address("NTRACK_COLLECTOR", collector)
    from_environment = {"mode": mode or None, "collector": collector or None}
    return _merged(AgentConfig, "agent", base_dir, from_environment, given)


def collector_config(base_dir: Path, **given: Any) -> CollectorConfig:
    """Return the daemon's settings from ``given``, file and defaults; raise as :func:`agent_config`."""
    return _merged(CollectorConfig, "collector", base_dir, {}, given)


def read_section(base_dir: Path, section: str) -> dict[str, Any]:
    """Return a section of the configuration file; empty without a file, or if the file is another user's.

    Raises:
        ConfigError: the file is not TOML, has an unknown section, the section is not a table, or other users
            can write to the file of this user's folder.
        OSError: the file cannot be read.
    """
    path = base_dir / ".ntrack" / "config.toml"
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; remove it, or put a file there") from None
    except PermissionError:
        if path.parent.stat().st_uid == os.geteuid():
            raise
        return {}  # another user's folder, which this user may read; its settings are for its owner
    if _is_for_others(path):
        return {}
    import tomllib

    try:
        sections = tomllib.loads(data.decode())
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    for name in sections:
        if name not in SECTIONS:
            raise ConfigError(f"unknown section [{name}] in {path}{did_you_mean(name, SECTIONS)}")
    found = sections.get(section, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: [{section}] must be a table")
    return found


def _is_for_others(path: Path) -> bool:
    """Return whether the settings belong to another user, who owns this folder of runs.

    Raises:
        ConfigError: they are in this user's folder, and other users may have written them. Settings can name an
            interpreter, a server, or an address to listen on.
    """
    reasons = [ownership.why_not_trusted(place) for place in (path.parent, path)]
    if not any(reasons):
        return False
    whose = ownership.owner_of(path.parent.parent)
    if whose not in (os.geteuid(), 0) and whose == ownership.owner_of(path.parent):
        return True
    raise ConfigError(f"settings are not used: {next(filter(None, reasons))}")


def refuse_unknown(keys: Mapping[str, Any], known: list[str], where: str) -> None:
    """Raise ConfigError with the first unknown key and the most similar known one, if there is one."""
    for key in keys:
        if key not in known:
            raise ConfigError(f"unknown setting {key!r} in {where}{did_you_mean(key, known)}")


def _merged(
    kind: type[C], section: str, base_dir: Path, environment: Mapping[str, Any], given: Mapping[str, Any]
) -> C:
    known: list[str] = list(kind.__slots__)  # type: ignore[attr-defined]
    from_file = read_section(base_dir, section)
    refuse_unknown(from_file, known, f"[{section}] of config.toml")
    values = dict(from_file)
    for layer in (environment, given):
        values.update({key: value for key, value in layer.items() if value is not None})
    return kind(**values)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
    return value


def _at_least(name: str, value: Any, minimum: float) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not minimum <= value < 2**63:
        raise ConfigError(f"{name} is {value!r}; it must be a number of at least {minimum}")
    return value
