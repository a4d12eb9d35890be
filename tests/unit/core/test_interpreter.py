"""Which executables count as Python, without starting any."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from neural.tracking.core import interpreter
from neural.tracking.errors import ConfigError

PYTHONS = (
    "python", "python3", "python3.11", "python3.13t", "python3.11d", "python3.7m", "python3.11-dbg",
    "python3-dbg", "Python", "pythonw", "python3-intel64", ".python3.11-wrapped", "pypy", "pypy3", "pypy3.10",
    "graalpy", "python.exe",
)  # fmt: skip
OTHERS = (
    "train", "train_app", "uwsgi", "blender", "httpd", "gdb", "mypython", "python-train", "python_app",
    "pythonista", "python3-trainer", "python.sh", "pypy-app", "cpython-service",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_name_in_the_environment(monkeypatch):
    monkeypatch.delenv(interpreter.VARIABLE, raising=False)


def program(path):
    path.write_text("#!/bin/sh\nexit 9\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("name", PYTHONS)
def test_program_of_such_a_name_is_a_python(name, tmp_path):
    assert interpreter.why_not(program(tmp_path / name), frozen=False) is None


@pytest.mark.parametrize("name", OTHERS)
def test_program_of_another_name_is_not(name, tmp_path):
    assert "not known to be a Python" in interpreter.why_not(program(tmp_path / name), frozen=False)


def test_link_to_a_python_is_one_whatever_it_is_called(tmp_path):
    (tmp_path / "trainer").symlink_to(program(tmp_path / "python3.11"))

    assert interpreter.why_not(str(tmp_path / "trainer"), frozen=False) is None


def test_this_test_runs_in_a_python():
    assert interpreter.to_start({}) == sys.executable


@pytest.mark.parametrize(
    ("executable", "told"),
    [(None, "does not say where"), ("", "does not say where"), ("/nowhere/python3", "which is no program")],
)
def test_no_executable_is_no_python(executable, told, monkeypatch):
    monkeypatch.setattr(sys, "executable", executable)

    with pytest.raises(ConfigError, match=f"{told}.*NTRACK_PYTHON"):
        interpreter.to_start({})


def test_frozen_application_is_none_even_if_it_is_called_python(monkeypatch):
    monkeypatch.setattr(sys, "frozen", "windows_exe", raising=False)

    with pytest.raises(ConfigError, match=r"frozen application.*NTRACK_PYTHON"):
        interpreter.to_start({})


def test_python_that_the_environment_names_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    mine = program(tmp_path / "mine")

    assert interpreter.to_start({"NTRACK_PYTHON": mine}) == mine
    assert interpreter.to_start({"NTRACK_PYTHON": "sh"}) == shutil.which("sh")


def test_python_that_the_environment_names_and_is_not_there_is_told():
    with pytest.raises(ConfigError, match="NTRACK_PYTHON is '/nowhere/python3': there is no such program"):
        interpreter.to_start({"NTRACK_PYTHON": "/nowhere/python3"})


def test_nothing_in_the_package_starts_the_executable_past_this_module():
    root = Path(interpreter.__file__).parents[3]
    parts = [root / part for part in ("agent", "collector", "sinks")] + [root / "neural" / "tracking"]
    own = (path for part in parts for path in part.rglob("*.py") if not linked(path, root))

    uses = {os.path.relpath(path, root) for path in own if "sys.executable" in path.read_text()}

    assert uses == {"neural/tracking/core/interpreter.py", "neural/tracking/api/environment.py"}


def linked(path, root):
    """Return whether a path leads through one of the links that make the parts sub-packages."""
    return path.resolve() != root.resolve() / path.relative_to(root)
