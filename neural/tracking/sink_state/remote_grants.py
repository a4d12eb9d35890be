"""What a run that came from another host may say of its sinks: which of the owner's it is for, and no more.

Whose a session is, the collector knows by the door it came in at. It keeps that in the session's
description, which is in the log and in the run's folder, and takes nobody's word for it. Addresses,
folders, modes and all else of such a session's environment count only where the sink's
``guests_may_set`` names the variable. So nobody can have the collector's own credentials sent to an
address of his choice, or files made where he likes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from neural.tracking.core.names import is_sink_name
from neural.tracking.formats.wire import VIA

if TYPE_CHECKING:
    from neural.tracking.sink_state.config import SinkConfig

_ELSEWHERE = "on the collector's host"
MAX_NAMES = 32
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,39}")


class Said(NamedTuple):
    """What a run says of its backends' environment, and who says it.

    ``via``: the name under which it came from another host; None for one of this host. ``vouched``: a
    session of this host said so at this host's own door. A run folder may come from anywhere.
    """

    env: object
    via: str | None = None
    vouched: bool = False


class Granted(NamedTuple):
    """What of that counts, and why the run has to wait; None where it need not."""

    env: dict[str, str]
    refused: str | None = None


def is_named(config: SinkConfig, names: object, via: object) -> bool:
    """Return whether a run is the sink's because it names it: a guest has a say only in what is configured."""
    return config.name in _texts(names) and (via is None or config.configured)


def granted(config: SinkConfig, said: Said, base_dir: Path) -> Granted:
    """Return what counts of a run's environment."""
    env = {str(k): str(v) for k, v in said.env.items()} if isinstance(said.env, dict) else {}
    if said.via is not None:
        allowed = {name: value for name, value in env.items() if name in config.guests_may_set}
        return Granted({n: v for n, v in allowed.items() if not _leaves(n, v, base_dir)})
    outside = [] if said.vouched else [name for name, value in env.items() if _leaves(name, value, base_dir)]
    outside = [name for name in outside if _concerns(config, name)]
    if not outside:
        return Granted(env)
    told = " and ".join(f"{name}={env[name]}" for name in outside)
    option = "tracking_uri" if outside[0].startswith("MLFLOW") else "folder"
    return Granted(
        {name: value for name, value in env.items() if name not in outside},
        f"its folder alone says {told}, which leaves {base_dir}; "
        f"`ntrack sinks add {config.name} --set {option}=…` says where it is to go",
    )


def unheeded(info: Mapping[str, Any], configured: Mapping[str, SinkConfig], base_dir: Path) -> list[str]:
    """Return what a session of another host says of sinks and does not get, each with what allows it."""
    if info.get(VIA) is None:
        return []
    names, env = _texts(info.get("sinks")), info.get("env")
    told = []
    for name in names:
        if name not in configured:
            told.append(
                f"sink {name} is not configured {_ELSEWHERE}, so it does not get the run, which is stored; "
                f"`ntrack sinks add {name} --only-named` there lets such runs in"
            )
        elif not configured[name].enabled:
            told.append(f"sink {name} is disabled {_ELSEWHERE}; `ntrack sinks enable {name}` there enables it")
    for config in configured.values():
        if not (config.enabled and (config.runs == "all" or config.name in names)):
            continue
        counts = granted(config, Said(env, str(info[VIA])), base_dir).env
        left = [str(k) for k in (env if isinstance(env, dict) else ()) if k not in counts]
        left = [name for name in left if _VARIABLE.fullmatch(name) and _concerns(config, name)]
        if left:
            which = ", ".join(sorted(left)[:MAX_NAMES])
            told.append(
                f"sink {config.name} does not heed {which} of a training on another host; "
                f"guests_may_set in its settings {_ELSEWHERE} names what it is to heed, "
                f"and no path may leave the folder of runs"
            )
    return told


def _texts(names: object) -> list[str]:
    """Return the names of sinks a run gives; whatever else a peer may send is none."""
    found = names if isinstance(names, list) else []
    return [name for name in found if is_sink_name(name)][:MAX_NAMES]


def _concerns(config: SinkConfig, variable: str) -> bool:
    """Return whether a variable is one that the sink's type reads; of other people's types nobody can tell."""
    prefixes = {"mlflow": ("MLFLOW_",), "wandb": ("WANDB_",), "tensorboard": (), "jsonl": ()}
    return variable.startswith(prefixes.get(config.type, ("MLFLOW_", "WANDB_")))


def _leaves(variable: str, value: str, base_dir: Path) -> bool:
    """Return whether a variable names a file or folder that is not below ``base_dir``."""
    if variable == "MLFLOW_TRACKING_URI":
        path = _file_of(value)
    elif variable == "WANDB_DIR":
        path = value
    else:
        return False
    if path is None:
        return False
    if not path.startswith("/") or "\0" in path:  # relative to nothing that anybody would mean
        return True
    return not _is_below(Path(path), base_dir)


def _is_below(path: Path, base_dir: Path) -> bool:
    try:
        found, root = path.resolve(), base_dir.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return False
    # Beside the runs, not among them: nor in what the collector itself keeps there.
    return found.is_relative_to(root) and not found.is_relative_to(root / ".ntrack")


def _file_of(address: str) -> str | None:
    """Return the path that MLflow would take an address for, None where it is a server's."""
    scheme, colon, rest = address.partition(":")
    scheme = scheme.lower()
    if scheme.startswith("databricks") or scheme == "uc":
        return None
    if not colon or not scheme.replace("+", "").replace("-", "").replace(".", "").isalnum():
        return address
    if scheme.startswith("sqlite"):
        path = rest.removeprefix("///")
        return (
            "" if "?" in path or ":" in path else path
        )  # options, or another scheme inside: not looked through
    if scheme == "file":
        return unquote(rest.removeprefix("//"))
    return None
