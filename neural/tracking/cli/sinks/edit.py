"""``ntrack sinks add|rm|enable|disable``: edits ``config.toml`` and lets a running collector follow."""

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


@click.command(short_help="Add a sink, or change one.")
@click.argument("name")
@click.option("--type", "kind", help="mlflow, wandb, tensorboard, jsonl, or a plugin's; default: NAME.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting; may be repeated.")
@click.option("--only-named", is_flag=True, help="Only runs that name it; else all runs.")
@output.base_dir_option
def add(name: str, kind: str | None, settings: tuple[str, ...], only_named: bool, base_dir: Path) -> None:
    """Add a sink, or change the settings of one that is there.

    Settings every sink has: enabled, runs (all or named), python (an interpreter that has the backend),
    call_timeout_s, log_budget_bytes, log_budget_hours, memory_limit_bytes, guests_may_set (variables of
    trainings on other hosts that count, with commas between). The rest are its type's own.
    Secrets are no settings: they come from the backend's environment variables or a file of mode 0600.
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
    followed = notify_collector(base_dir)
    console.print(
        f"[green]●[/] sink [bold]{name}[/] {'changed' if there else 'added'}: delivers to {config.type}, "
        f"{'all runs' if config.runs == 'all' else 'runs that name it'}"
        f"{'; the running collector follows' if followed else ''}"
    )
    console.print(
        f"  [dim]`ntrack sinks test {name}` tries it; `ntrack sinks replay RUN --to {name}` sends older runs[/]"
    )


def _table(config: SinkConfig) -> dict[str, Any]:
    plain = {key: getattr(config, key) for key in COMMON_KEYS if getattr(config, key) is not None}
    return {**plain, **config.options}


def _parsed(setting: str, options: Any) -> tuple[str, Any]:
    """Return key and value of ``key=value``, the value as the kind its key has."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set wants KEY=VALUE, not {setting!r}")
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
    """Remove a sink, with what it set aside; what it delivered stays in its backend."""
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


@click.command(short_help="Deliver to a sink again; it catches up.")
@click.argument("name")
@output.base_dir_option
def enable(name: str, base_dir: Path) -> None:
    """Deliver to a sink again, also what it missed: from the log, else from run folders."""
    _switch(base_dir, name, enabled=True)
    SinkFolder(State.for_base_dir(base_dir), name).mark("sweep")
    notify_collector(base_dir)
    notify_collector(base_dir, "errand", sink=name)
    output.stdout().print(f"[green]●[/] sink {name} enabled")


@click.command(short_help="Deliver nothing to a sink for now.")
@click.argument("name")
@output.base_dir_option
def disable(name: str, base_dir: Path) -> None:
    """Deliver nothing to a sink until it is enabled again; the log does not wait for it."""
    _switch(base_dir, name, enabled=False)
    notify_collector(base_dir)
    output.stdout().print(f"○ sink {name} disabled")


def _switch(base_dir: Path, name: str, *, enabled: bool) -> None:
    config = one_sink(base_dir, name)
    try:
        known = name in sink_configs(base_dir)
        whole = {} if known else {"type": config.type, "runs": config.runs}
        set_sink(base_dir, name, {**whole, "enabled": enabled})
    except (TrackingError, OSError) as error:
        raise output.Failure(str(error)) from error
