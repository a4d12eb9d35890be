"""Settings of every part: frozen, checked where they are made, unknown keys refused.

A call's argument wins over the environment, that over ``<base_dir>/.ntrack/config.toml``, that over
the default. The file is read only where it exists.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from neural.tracking.errors import ConfigError

MODES = ("online", "offline", "disabled")
_MIB = 1 << 20

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """What the part inside the training process may use, section ``[agent]``."""

    mode: str = "online"
    outbox_limit_bytes: int = 4 << 30
    when_full: str = "drop"
    block_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        _one_of("mode", self.mode, MODES)
        _one_of("when_full", self.when_full, ("drop", "block"))
        _at_least("outbox_limit_bytes", self.outbox_limit_bytes, 4 * _MIB)
        _at_least("block_timeout_s", self.block_timeout_s, 0.0)


@dataclass(frozen=True, kw_only=True)
class CollectorConfig:
    """What the daemon does, section ``[collector]``."""

    segment_bytes: int = 64 * _MIB
    idle_exit_s: float = 600.0
    drain_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        _at_least("segment_bytes", self.segment_bytes, 2 * _MIB)
        _at_least("idle_exit_s", self.idle_exit_s, 0.1)
        _at_least("drain_timeout_s", self.drain_timeout_s, 0.1)


def agent_config(base_dir: Path, environ: Mapping[str, str] = os.environ, **given: Any) -> AgentConfig:
    """Return the agent's settings: ``given`` (None means not given), environment, file, defaults.

    Raises:
        ConfigError: a value is out of range or a key is unknown.
    """
    from_environment = {"mode": environ.get("NTRACK_MODE") or None}
    return _merged(AgentConfig, "agent", base_dir, from_environment, given)


def collector_config(base_dir: Path, **given: Any) -> CollectorConfig:
    """Return the daemon's settings; as :func:`agent_config`."""
    return _merged(CollectorConfig, "collector", base_dir, {}, given)


def read_section(base_dir: Path, section: str) -> dict[str, Any]:
    """Return a section of the configuration file, empty where there is none.

    Raises:
        ConfigError: the file is no TOML, or the section no table.
    """
    path = base_dir / ".ntrack" / "config.toml"
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    import tomllib

    try:
        found = tomllib.loads(data.decode()).get(section, {})
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: [{section}] must be a table")
    return found


def refuse_unknown(keys: Mapping[str, Any], known: list[str], where: str) -> None:
    """Raise ConfigError naming the first unknown key and the nearest right one."""
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
            raise ConfigError(f"unknown setting {key!r} in {where}{hint}")


def _merged(
    kind: type[C], section: str, base_dir: Path, environment: Mapping[str, Any], given: Mapping[str, Any]
) -> C:
    known = [item.name for item in dataclasses.fields(kind)]  # type: ignore[arg-type]
    from_file = read_section(base_dir, section)
    refuse_unknown(from_file, known, f"[{section}] of config.toml")
    values = dict(from_file)
    for layer in (environment, given):
        values.update({key: value for key, value in layer.items() if value is not None})
    return kind(**values)


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")


def _at_least(name: str, value: object, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise ConfigError(f"{name} is {value!r}; it must be a number of at least {least}")
