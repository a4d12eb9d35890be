"""Which sink settings of a run from another host count: such a run may only choose among configured sinks.

The socket on which a session connects shows whether it is from another host. The collector records that in the
session's description, which is in the log and in the run's folder; a peer cannot set it. Of such a session's
environment (addresses, folders, modes, …) a variable counts only if the sink's ``guests_may_set`` names it. So
a guest cannot send the collector's credentials to another address, or create files in other places.
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


class ClaimedEnv(NamedTuple):
    """The environment for backends that a run claims, and its origin.

    ``via``: the allowed name with which the run connected from another host; None for this host. ``trusted``: a
    session sent it over this host's local socket. A run folder is not trusted, since it may come from anywhere.
    """

    env: object
    via: str | None = None
    trusted: bool = False


class Granted(NamedTuple):
    """The part of a claimed environment that counts, and why the run must be held; None if it need not."""

    env: dict[str, str]
    refused: str | None = None


def is_named(config: SinkConfig, names: object, via: object) -> bool:
    """Return whether a run belongs to the sink because it names it; guests may name configured sinks only."""
    return config.name in _texts(names) and (via is None or config.configured)


def granted(config: SinkConfig, claimed: ClaimedEnv, base_dir: Path) -> Granted:
    """Return the part of a run's environment that counts for this sink; reads links on the disk."""
    env = {str(k): str(v) for k, v in claimed.env.items()} if isinstance(claimed.env, dict) else {}
    if claimed.via is not None:
        allowed = {name: value for name, value in env.items() if name in config.guests_may_set}
        return Granted({n: v for n, v in allowed.items() if not _leaves(n, v, base_dir)})
    outside = [] if claimed.trusted else [name for name, value in env.items() if _leaves(name, value, base_dir)]
    outside = [name for name in outside if _concerns(config, name)]
    if not outside:
        return Granted(env)
    settings = " and ".join(f"{name}={env[name]}" for name in outside)
    option = "tracking_uri" if outside[0].startswith("MLFLOW") else "folder"
    return Granted(
        {name: value for name, value in env.items() if name not in outside},
        f"its folder alone says {settings}, which is outside {base_dir}; "
        f"`ntrack sinks add {config.name} --set {option}=…` sets the destination",
    )


def ignored_settings(
    info: Mapping[str, Any], configured: Mapping[str, SinkConfig], base_dir: Path
) -> list[str]:
    """Return a text for each sink setting of a remote session that is ignored, with what would allow it."""
    if info.get(VIA) is None:
        return []
    names, env = _texts(info.get("sinks")), info.get("env")
    texts = []
    for name in names:
        if name not in configured:
            texts.append(
                f"sink {name} is not configured {_ELSEWHERE}, so it does not get the run, which is stored; "
                f"`ntrack sinks add {name} --only-named` there allows such runs"
            )
        elif not configured[name].enabled:
            texts.append(f"sink {name} is disabled {_ELSEWHERE}; `ntrack sinks enable {name}` there enables it")
    for config in configured.values():
        if not (config.enabled and (config.runs == "all" or config.name in names)):
            continue
        counts = granted(config, ClaimedEnv(env, str(info[VIA])), base_dir).env
        left = [str(k) for k in (env if isinstance(env, dict) else ()) if k not in counts]
        left = [name for name in left if _VARIABLE.fullmatch(name) and _concerns(config, name)]
        if left:
            which = ", ".join(sorted(left)[:MAX_NAMES])
            texts.append(
                f"sink {config.name} ignores {which} of a training on another host; "
                f"guests_may_set in its settings {_ELSEWHERE} lists the variables that count, "
                f"and no path may leave the folder of runs"
            )
    return texts


def _texts(names: object) -> list[str]:
    """Return the valid sink names that a run gives, 32 at most; any other value from a peer is ignored."""
    found = names if isinstance(names, list) else []
    return [name for name in found if is_sink_name(name)][:MAX_NAMES]


def _concerns(config: SinkConfig, variable: str) -> bool:
    """Return whether the sink's type may read a variable; a plugin's type may read all of them."""
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
    if not path.startswith("/") or "\0" in path:  # a relative path has no meaning for the collector
        return True
    return not _is_below(Path(path), base_dir)


def _is_below(path: Path, base_dir: Path) -> bool:
    try:
        found, root = path.resolve(), base_dir.resolve()
    except (OSError, RuntimeError):  # a loop of symbolic links
        return False
    # The collector's own files in .ntrack are excluded.
    return found.is_relative_to(root) and not found.is_relative_to(root / ".ntrack")


def _file_of(address: str) -> str | None:
    """Return the path for which MLflow would use an address; None if it is a server's address."""
    scheme, colon, rest = address.partition(":")
    scheme = scheme.lower()
    if scheme.startswith("databricks") or scheme == "uc":
        return None
    if not colon or not scheme.replace("+", "").replace("-", "").replace(".", "").isalnum():
        return address
    if scheme.startswith("sqlite"):
        path = rest.removeprefix("///")
        return "" if "?" in path or ":" in path else path  # options or a nested scheme are not parsed
    if scheme == "file":
        return unquote(rest.removeprefix("//"))
    return None
