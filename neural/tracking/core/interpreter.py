"""Chooses the Python that starts helpers: this process's own, if its executable certainly is a Python.

``sys.executable`` may be a program that starts the training: an application made by PyInstaller, or a program
that embeds Python (uWSGI). A test start would start the training again. So the decision uses only its name, or
the name of its link's target. If a Python has an unusual name, the user must set one variable; the opposite
mistake would start the training again and again.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping

from neural.tracking.errors import ConfigError

VARIABLE = "NTRACK_PYTHON"

# python3.13t, python3.11-dbg, pypy3.10, Python (of macOS), .python3.11-wrapped (of Nix); no python-train
_NAME = re.compile(
    r"\.?(python|pypy|graalpy|pyston)\d*(\.\d+)*[dmtuw]{0,2}"
    r"(-(dbg|debug|intel64|arm64|x86_64|32|64|wrapped|real))*(\.exe|\.bin)?",
    re.IGNORECASE,
)


def to_start(environ: Mapping[str, str] = os.environ) -> str:
    """Return the interpreter that runs this package's own processes.

    Raises:
        ConfigError: no executable is certainly a Python; the text gives the reason and names ``NTRACK_PYTHON``.
    """
    named = environ.get(VARIABLE)
    if named:
        import shutil

        found = shutil.which(os.path.expanduser(named))
        if found is None:
            raise ConfigError(f"{VARIABLE} is {named!r}: there is no such program")
        return os.path.abspath(found)
    reason = why_not(sys.executable, frozen=bool(getattr(sys, "frozen", False)))
    if reason:
        raise ConfigError(f"{reason}; {VARIABLE} may name a Python that has neural-tracking")
    return sys.executable


def why_not(executable: str | None, *, frozen: bool) -> str | None:
    """Return why this process's executable may not be started as a Python; None if it may."""
    if frozen:
        return f"this is a frozen application, and {executable or 'it'} would start it again"
    if not executable:
        return "this program embeds Python and does not say where an interpreter is"
    if not (os.path.isfile(executable) and os.access(executable, os.X_OK)):
        return f"sys.executable is {executable!r}, which is no program"
    names = (os.path.basename(executable), os.path.basename(os.path.realpath(executable)))
    if not any(map(_NAME.fullmatch, names)):
        return f"sys.executable is {executable!r}, which is not known to be a Python interpreter"
    return None


def is_own(python: str) -> bool:
    """Return whether an interpreter is that of this process, so that it finds the same packages."""
    return python == sys.executable
