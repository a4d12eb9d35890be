"""``ntrack sinks add|rm|enable|disable``: edits ``config.toml`` and notifies a running collector."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path
from typing import Any

import click

from neural.tracking.cli import output
from neural.tracking.cli.sinks.select import notify_collector, one_sink
from neural.tracking.errors import ConfigError, TrackingError
from neural.tracking.sink_state.config import COMMON_KEYS, SinkConfig, sink_config, sink_configs
from neural.tracking.sink_state.config_file import remove_sink, set_sink
from neural.tracking.sink_state.progress import SinkFolder
from neural.tracking.state.paths import State

_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")


@click.command(short_help="Add or change a sink.")
@click.argument("name")
@click.option(
    "--type", "kind", help="mlflow, wandb, tensorboard, jsonl, or the type of a plugin; default: NAME."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting; repeatable.")
@click.option("--only-named", is_flag=True, help="Deliver only runs that name the sink, not all runs.")
@output.base_dir_option
def add(name: str, kind: str | None, settings: tuple[str, ...], only_named: bool, base_dir: Path) -> None:
    """Add a sink, or change the settings of an existing sink.

    Settings of every sink: enabled, runs (all or named), python (an interpreter with the backend),
    call_timeout_s, log_budget_bytes, log_budget_hours, memory_limit_bytes, guests_may_set (variables that
    trainings on other hosts may set, separated by commas). Other settings depend on the type. Do not put
    secrets into settings: use the environment variables of the backend, or a file of mode 0600.
    """
    from neural.tracking.sinks.registry import check_options, sink_class

    console = output.stdout()
    try:
        there = sink_configs(base_dir).get(name)
        made = sink_class(kind or (there.type if there else name))
        values: dict[str, Any] = {} if there else {"type": kind or name}
        if only_named or (there is None and not any(s.startswith("runs=") for s in settings)):
            values["runs"] = "named" if only_named else "all"
        for setting in settings:
            key, value = _parsed(setting, made.options)
            values[key] = value
        before = {} if there is None else _table(there)
        config = sink_config(name, {**before, **values})
        check_options(made, config)
        if config.python and not shutil.which(config.python):
            raise ConfigError(f"python in [sinks.{name}] is {config.python!r}: there is no such program")
        set_sink(base_dir, name, values)
    except (TrackingError, OSError) as error:
        raise output.Failure(str(error)) from error
    notified = notify_collector(base_dir)
    console.print(
        f"[green]●[/] sink [bold]{name}[/] {'changed' if there else 'added'}: delivers "
        f"{'all runs' if config.runs == 'all' else 'runs that name it'} to {config.type}"
        f"{'; the running collector uses it now' if notified else ''}"
    )
    console.print(
        f"  [dim]test it: `ntrack sinks test {name}`; older runs: `ntrack sinks replay RUN --to {name}`[/]"
    )


def _table(config: SinkConfig) -> dict[str, Any]:
    plain = {key: getattr(config, key) for key in COMMON_KEYS if getattr(config, key) is not None}
    return {**plain, **config.options}


def _parsed(setting: str, options: Any) -> tuple[str, Any]:
    """Return key and value of ``key=value``, with the value converted to the type of the key."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set must be KEY=VALUE, not {setting!r}")
    kinds: dict[str, type] = {"type": str, "runs": str, "python": str, "enabled": bool}
    kinds |= {name: float for name in COMMON_KEYS if name not in kinds}
    kinds |= {name: option.kind for name, option in options.items()}
    kinds["guests_may_set"] = list
    kind = kinds.get(key, str)
    if kind is list:
        return key, [name.strip() for name in text.split(",") if name.strip()]
    if kind is str:
        return key, text
    if kind is bool:
        if text.lower() not in _TRUE + _FALSE:
            near = difflib.get_close_matches(text.lower(), _TRUE + _FALSE, n=1)
            raise ConfigError(
                f"{key} is {text!r}; it must be true or false{f'; did you mean {near[0]}?' if near else ''}"
            )
        return key, text.lower() in _TRUE
    try:
        number = float(text.replace("_", ""))
    except ValueError:
        raise ConfigError(f"{key} is {text!r}; it must be a number") from None
    return key, int(number) if number == int(number) and abs(number) < 2**63 else number


@click.command(name="rm", short_help="Remove a sink.")
@click.argument("name")
@output.base_dir_option
def remove(name: str, base_dir: Path) -> None:
    """Remove a sink and its dead letters. Delivered runs stay in the backend."""
    one_sink(base_dir, name)
    state = State.for_base_dir(base_dir)
    try:
        remove_sink(base_dir, name)
        notify_collector(base_dir)
        shutil.rmtree(SinkFolder(state, name).root, ignore_errors=True)
        (state.cursors / f"{name}.json").unlink(missing_ok=True)
    except (TrackingError, OSError) as error:
        raise output.Failure(str(error)) from error
    output.stdout().print(f"sink {name} removed")


@click.command(short_help="Enable a sink; it catches up.")
@click.argument("name")
@output.base_dir_option
def enable(name: str, base_dir: Path) -> None:
    """Enable a sink. It gets the events that it missed, from the log or from run folders."""
    _switch(base_dir, name, enabled=True)
    SinkFolder(State.for_base_dir(base_dir), name).mark("sweep")
    notify_collector(base_dir)
    notify_collector(base_dir, "errand", sink=name)
    output.stdout().print(f"[green]●[/] sink {name} enabled")


@click.command(short_help="Disable a sink for now.")
@click.argument("name")
@output.base_dir_option
def disable(name: str, base_dir: Path) -> None:
    """Disable a sink: deliver nothing until it is enabled again. The log keeps no events for it."""
    _switch(base_dir, name, enabled=False)
    notify_collector(base_dir)
    output.stdout().print(f"○ sink {name} disabled")


def _switch(base_dir: Path, name: str, *, enabled: bool) -> None:
    config = one_sink(base_dir, name)
    try:
        known = name in sink_configs(base_dir)
        defaults = {} if known else {"type": config.type, "runs": config.runs}
        set_sink(base_dir, name, {**defaults, "enabled": enabled})
    except (TrackingError, OSError) as error:
        raise output.Failure(str(error)) from error
