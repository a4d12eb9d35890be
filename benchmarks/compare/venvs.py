"""A virtual environment for each tool, created once and kept in ``.compare/venvs``, which git ignores."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from catalog import ROOT, Entry

CACHE = ROOT / ".compare"
COMMON = ("numpy", "psutil")  # for the training loop; the same versions for all tools
INSTALL_TIMEOUT_S = 900


class CannotInstall(Exception):
    """The tool cannot be installed, so it is not measured; its row has the reason."""


def prepare(entry: Entry) -> Path:
    """Return the interpreter of the entry's environment; create the environment if it is missing.

    Raises:
        CannotInstall: with the last line of the installer's output.
    """
    folder = CACHE / "venvs" / entry.environment
    python = folder / "bin" / "python"
    done = folder / ".installed"
    wanted = [*(["-e", str(ROOT)] if entry.module == "ours" else entry.packages), *COMMON]
    if done.exists() and json.loads(done.read_text()) == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(f"  installing {' '.join(wanted)}", flush=True)
    try:
        if shutil.which("uv"):
            _run("uv", "venv", "--quiet", "--python", sys.executable, str(folder))
            _run("uv", "pip", "install", "--quiet", "--python", str(python), *wanted)
        else:
            _run(sys.executable, "-m", "venv", str(folder))
            _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted)
    except CannotInstall:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    done.write_text(json.dumps(wanted))
    return python


def versions(python: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Return the installed versions of these distributions."""
    code = (
        "import json, sys; from importlib import metadata; "
        "print(json.dumps({name: metadata.version(name) for name in sys.argv[1:]}))"
    )
    found = subprocess.run([str(python), "-c", code, *names], capture_output=True, text=True, check=True)
    return dict(json.loads(found.stdout))


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotInstall(str(error)[:200]) from error
    if done.returncode:
        words = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise CannotInstall(words[-1][:200] if words else f"exit code {done.returncode}")
