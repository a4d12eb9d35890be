"""Gathers a run's metadata about its environment: command, folder, host, packages, git state.

Import and run it only on a thread of its own: git takes as long as a few hundred training steps.
"""

from __future__ import annotations

import email.parser  # noqa: F401 - importlib.metadata imports it late, and a fork then could hang
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata as distributions
from typing import Any

MAX_COMMAND_BYTES = 8 << 10

# Names of options with a secret value: --api-key, --hf_token, db.password
_SECRET_NAME = re.compile(
    r"(?i)(^|[-_.+])((api|access|private|secret)[-_]?key|secret|token|passw(or)?d|passphrase|credentials?)$"
)
_URL_USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_HIDDEN = "***"
GIT_TIMEOUT_S = 5.0

# Packages whose version changes results, and packages that show which framework trained.
PACKAGES_OF_NOTE = (
    "neural-tracking",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "torch",
    "torchvision",
    "lightning",
    "pytorch-lightning",
    "transformers",
    "accelerate",
    "datasets",
    "tensorflow",
    "keras",
    "jax",
    "flax",
    "xgboost",
    "lightgbm",
)


def gather_metadata() -> dict[str, Any]:
    """Return command, folder, host, Python, package versions and git state of this process.

    A value that cannot be determined is None or missing. Secrets in the command are hidden.

    Blocks: up to some 5 s if git is slow; never call it on the training thread.
    """
    cwd = _cwd()
    return {
        "command": _command(),
        "cwd": cwd,
        "host": platform.node(),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "python_executable": sys.executable,
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "packages": _packages(),
        "git": _git_state(cwd),
    }


def _command() -> str:
    words = sys.orig_argv
    if "--multiprocessing-fork" in words:  # a spawned child: show the user's command, not the spawn
        words = [sys.executable or "python", *sys.argv]
    command = shlex.join(_without_secrets(words))
    if len(command.encode("utf-8", "replace")) <= MAX_COMMAND_BYTES:
        return command.encode("utf-8", "backslashreplace").decode()
    return command[: MAX_COMMAND_BYTES // 4] + " [cut]"


def _without_secrets(words: list[str]) -> list[str]:
    """Return the command's words with passwords, tokens and keys hidden."""
    shown: list[str] = []
    follows = False  # whether the previous word was an option like --password
    for word in words:
        name, equals, _ = word.partition("=")
        secret = _SECRET_NAME.search(name) is not None
        if follows and not word.startswith("-"):
            shown.append(_HIDDEN)
        else:
            shown.append(f"{name}={_HIDDEN}" if secret and equals else _URL_USER.sub(_HIDDEN, word))
        follows = secret and not equals and word.startswith("-")
    return shown


def _cwd() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # the folder was removed under the process
        return None


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in PACKAGES_OF_NOTE:
        try:
            found[name] = distributions.version(name)
        except distributions.PackageNotFoundError:
            continue
        # Each lookup holds the interpreter's lock for about a millisecond; let the training thread run.
        time.sleep(0)
    return found


def _git_state(cwd: str | None) -> Mapping[str, Any] | None:
    """Return commit, branch and dirty flag of the checkout around ``cwd``; None if there is none."""
    if cwd is None:
        return None
    deadline = time.monotonic() + GIT_TIMEOUT_S
    commit = _git(cwd, deadline, "rev-parse", "HEAD")
    if commit is None:
        return None
    branch = _git(cwd, deadline, "symbolic-ref", "--quiet", "--short", "HEAD")
    changes = _git(cwd, deadline, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "branch": branch, "dirty": None if changes is None else bool(changes)}


def _git(cwd: str, deadline: float, *arguments: str) -> str | None:
    # No optional locks: a status that refreshes the index would disturb the user's own git commands.
    environ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", cwd, *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=max(0.1, deadline - time.monotonic()),
            env=environ,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None
