"""Which Python to start helpers with: this process's own, where its executable is one for sure.

``sys.executable`` may be anything that trains when it is started: an application made by PyInstaller, or a
program that embeds Python (uWSGI). Starting it to find out would be the very fault, so it is told by
its name, or by the name of what it is a link to. One that is a Python and called otherwise costs a
line in the environment; the other mistake would start the training again and again.
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
        ConfigError: there is none for sure; says what is so, and that ``NTRACK_PYTHON`` names one.
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
    """Return why this process's executable may not be started as a Python; None where it may."""
    if frozen:
        return f"this is a frozen application, and {executable or 'it'} would start it once more"
    if not executable:
        return "this program embeds Python and does not say where an interpreter is"
    if not (os.path.isfile(executable) and os.access(executable, os.X_OK)):
        return f"sys.executable is {executable!r}, which is no program"
    names = (os.path.basename(executable), os.path.basename(os.path.realpath(executable)))
    if not any(map(_NAME.fullmatch, names)):
        return f"sys.executable is {executable!r}, which is not known to be a Python interpreter"
    return None


def is_own(python: str) -> bool:
    """Return whether an interpreter is this process's, which finds the packages that this one finds."""
    return python == sys.executable
