"""The configuration of sinks, ``[sinks.<name>]`` in ``config.toml``, and the backends that a run may name.

This module checks the keys that every sink has; :mod:`neural.tracking.sinks.registry` checks the options of
each type. If a run names a backend that the file does not configure, the sink has that type and default
options.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neural.tracking.core.config import read_section
from neural.tracking.core.names import is_sink_name
from neural.tracking.errors import ConfigError, did_you_mean

BACKENDS = ("mlflow", "wandb", "tensorboard", "jsonl")
RESERVED = frozenset(("store", "visualizer"))  # workers that are not sinks
WHICH_RUNS = ("all", "named")
_GIB = 1 << 30


class SinkConfig(NamedTuple):
    """The configuration of one sink.

    ``runs``: ``all``, or ``named`` for only those that name it. ``python``: another interpreter for its worker.
    ``call_timeout_s``: the maximum duration of a call into the backend's code. ``log_budget_bytes`` and
    ``log_budget_hours``: how much of the log, and how long, waits for it; beyond that it is detached and later
    reads run folders. ``memory_limit_bytes``: a worker that uses more is restarted. ``guests_may_set``: the
    environment variables that count for a training on another host. ``configured``: it is in the file, and was
    not only named by a run of this host.
    """

    name: str
    type: str
    enabled: bool = True
    runs: str = "all"
    python: str | None = None
    call_timeout_s: float = 120.0
    log_budget_bytes: int = 4 * _GIB
    log_budget_hours: float = 24.0
    memory_limit_bytes: int = 4 * _GIB
    guests_may_set: Sequence[str] = ()
    options: Mapping[str, Any] = {}
    configured: bool = False


COMMON_KEYS = tuple(name for name in SinkConfig._fields if name not in ("name", "options", "configured"))


def check_sink_name(name: str) -> str:
    """Return ``name`` if it is a valid name for a sink, else raise ConfigError."""
    if not is_sink_name(name):
        raise ConfigError(
            f"a sink cannot be called {name!r}: use up to 40 of a-z, 0-9, '-' and '_', a letter or digit first"
        )
    if name in RESERVED:
        raise ConfigError(f"a sink cannot be called {name!r}: it is the name of a worker of the collector")
    return name


def sink_configs(base_dir: Path) -> dict[str, SinkConfig]:
    """Return the configured sinks by name.

    Raises:
        ConfigError: the file is not valid TOML, or a value is not allowed for its key.
    """
    found = read_section(base_dir, "sinks")
    return {name: sink_config(name, table) for name, table in found.items()}


def sink_config(name: str, table: Any) -> SinkConfig:
    """Return the sink that a TOML table describes; keys that not every sink has are its options.

    Raises:
        ConfigError: the name or a value is not allowed, or the type is missing.
    """
    where = f"[sinks.{name}] of config.toml"
    check_sink_name(name)
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a table")
    if not isinstance(table.get("type"), str):
        raise ConfigError(f"{where} lacks type = {' | '.join(repr(backend) for backend in BACKENDS)}")
    common = {key: value for key, value in table.items() if key in COMMON_KEYS}
    options = {key: value for key, value in table.items() if key not in COMMON_KEYS}
    for key, value in common.items():
        _check(where, key, value)
    return SinkConfig(name=name, **common, options=options, configured=True)


def default_sink(name: str) -> SinkConfig | None:
    """Return the default sink for a backend that is not configured; None if there is no such type."""
    return SinkConfig(name=name, type=name, runs="named") if name in BACKENDS else None


def _check(where: str, key: str, value: Any) -> None:
    if key == "enabled":
        good = isinstance(value, bool)
        wanted = "true or false"
    elif key == "runs":
        if value in WHICH_RUNS:
            return
        raise ConfigError(f"runs in {where} is {value!r}{did_you_mean(str(value), WHICH_RUNS)}")
    elif key == "guests_may_set":
        good = isinstance(value, list | tuple)
        wanted = "a list of variables"
        for name in value if good else ():
            if name not in SENT_VARIABLES:
                near = did_you_mean(str(name), SENT_VARIABLES)
                raise ConfigError(f"{key} in {where} names {name!r}, which no training sends{near}")
    elif key in ("type", "python"):
        good = isinstance(value, str) and bool(value)
        wanted = "text"
    else:
        good = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        wanted = "a number above 0"
    if not good:
        raise ConfigError(f"{key} in {where} is {value!r}; it must be {wanted}")


def backend_names(base_dir: Path) -> list[str]:
    """Return the names allowed in ``backend=``: the built-in types and the configured sinks."""
    return [*BACKENDS, *(name for name in read_section(base_dir, "sinks") if name not in BACKENDS)]


def check_backends(
    backend: str | Iterable[str] | None,
    base_dir: Path,
    environ: Mapping[str, str] = os.environ,
    *,
    elsewhere: bool = False,
) -> list[str]:
    """Return the names of the sinks that a run is delivered to, each once, in the given order.

    Args:
        backend: a name or several; None means ``NTRACK_SINKS``, names separated by commas.
        base_dir: its ``config.toml`` may configure more sinks.
        environ: the environment.
        elsewhere: the collector is on another host; only that host knows its configured sinks.

    Raises:
        TypeError: ``backend`` is not a name or several.
        ConfigError: a name is unknown or invalid; the text suggests the most similar name.
    """
    what = "backend"
    if backend is None:
        what = "NTRACK_SINKS"
        names: list[Any] = [name.strip() for name in environ.get("NTRACK_SINKS", "").split(",") if name.strip()]
    elif isinstance(backend, Iterable):
        names = [backend] if isinstance(backend, str) else list(backend)
    else:
        raise TypeError(f"backend must be a name or a list of names, not {backend!r}")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{what} must be a name or a list of names, not {name!r}")
        if elsewhere:
            check_sink_name(name)
            continue
        if name in BACKENDS or name in (known := backend_names(base_dir)):
            continue
        raise ConfigError(f"unknown backend {name!r} in {what}{did_you_mean(name.lower(), known)}")
    return list(dict.fromkeys(names))


# The environment variables for backends that a training sends to the collector; none is a secret.
SENT_VARIABLES = (
    "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME",
    "WANDB_BASE_URL", "WANDB_DIR", "WANDB_ENTITY", "WANDB_JOB_TYPE", "WANDB_MODE", "WANDB_PROJECT",
)  # fmt: skip


def backend_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return this process's environment variables that select its backends; the collector may have others.

    Credentials are left out, also those inside an address: they must not be sent with the run.
    """
    return {name: without_credentials(environ[name]) for name in SENT_VARIABLES if environ.get(name)}


def without_credentials(address: str) -> str:
    """Return an address, or a text with addresses, without user names and passwords."""
    return re.sub(r"(?<=://)[^/@\s]*@", "", address)


def sink_named(name: str, base_dir: Path) -> SinkConfig:
    """Return the sink of this name, configured or default; raises ValueError if there is none."""
    config = sink_configs(base_dir).get(name) or default_sink(name)
    if config is None:
        raise ValueError(f"there is no worker named {name!r}")
    return config
