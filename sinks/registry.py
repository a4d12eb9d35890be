"""Lists the types of sinks, built in or from entry points; makes a sink from its configuration."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from neural.tracking.errors import ConfigError, did_you_mean
from neural.tracking.sink_state.config import COMMON_KEYS, SinkConfig
from neural.tracking.sinks.base import Option, Sink, SinkPlace

GROUP = "neural_tracking.sinks"
BUILT_IN = {
    "mlflow": "mlflow_sink:MlflowSink",
    "wandb": "wandb_sink.sink:WandbSink",
    "tensorboard": "tensorboard_sink:TensorBoardSink",
    "jsonl": "jsonl_sink:JsonlSink",
}
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_SECRET = ("key", "token", "password", "secret", "credential")


def types() -> list[str]:
    """Return the names of all types of sinks: the built-in ones first, then those of installed packages."""
    return [*BUILT_IN, *(name for name in sorted(_plugins()) if name not in BUILT_IN)]


def sink_class(kind: str) -> type[Sink]:
    """Return the class of a type. For a built-in type this does not import the backend's package.

    Raises:
        ConfigError: there is no such type, or its module cannot be imported.
    """
    if kind in BUILT_IN:
        module, _, name = BUILT_IN[kind].partition(":")
        found: type[Sink] = getattr(importlib.import_module(f"neural.tracking.sinks.{module}"), name)
        return found
    plugin = _plugins().get(kind)
    if plugin is None:
        raise ConfigError(f"there is no type of sink {kind!r}{did_you_mean(kind.lower(), types())}")
    try:
        loaded: type[Sink] = plugin.load()
    except Exception as error:  # a plugin's import may raise anything
        raise ConfigError(f"sink type {kind!r} ({plugin.value}) cannot be imported: {error!r}") from error
    return loaded


def _plugins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def make_sink(config: SinkConfig, place: SinkPlace) -> Sink:
    """Return a new sink that is not open yet.

    Raises:
        ConfigError: the type or an option is unknown, or a value cannot be used.
    """
    made = sink_class(config.type)
    construct: Callable[..., Sink] = made  # the protocol does not declare a constructor
    return construct(place, **check_options(made, config))


def check_options(made: type[Sink], config: SinkConfig) -> dict[str, Any]:
    """Return the value of every option of the type: the configured one, else the default.

    Raises:
        ConfigError: an option is unknown or its value cannot be used.
    """
    where = f"[sinks.{config.name}] of config.toml"
    for key in config.options:
        if key not in made.options:
            raise ConfigError(_unknown(key, made.options, where))
    found = {}
    for key, option in made.options.items():
        value = config.options.get(key, option.default)
        if key in config.options:
            value = _checked(f"{key} in {where}", option, value)
        found[key] = value
    return found


def _unknown(key: str, options: Mapping[str, Option], where: str) -> str:
    known = [*options, *COMMON_KEYS]
    if any(word in key.lower() for word in _SECRET):
        return (
            f"unknown setting {key!r} in {where}: secrets are not kept there; set the backend's own "
            f"environment variable, or name a file of mode 0600 where the type has an option for one"
        )
    return f"unknown setting {key!r} in {where}{did_you_mean(key, known)}"


def _checked(what: str, option: Option, value: Any) -> Any:
    if option.kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, option.kind) or (isinstance(value, bool) and option.kind is not bool):
        raise ConfigError(f"{what} is {value!r}; it must be {_KINDS.get(option.kind, option.kind.__name__)}")
    if option.choices and value not in option.choices:
        raise ConfigError(f"{what} is {value!r}{did_you_mean(str(value), option.choices)}")
    if isinstance(value, str) and _PASSWORD.search(value):
        raise ConfigError(
            f"{what} holds a password: secrets are not kept there; set the backend's own environment variables"
        )
    return value


_KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}
