"""Which Pythons CI tests: `.ci/minors.sh` in a small project with fake interpreters."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CI = Path(__file__).parents[2] / ".ci"
MAKEFILE = """
unit:
\t@echo "unit tests in $(VENV) with $(PYTHON)"
types:
\t@echo "types in $(VENV)"
"""


@pytest.fixture
def project(tmp_path):
    shutil.copytree(CI, tmp_path / ".ci")
    (tmp_path / "Makefile").write_text(MAKEFILE)
    interpreter(tmp_path / ".venv" / "bin" / "python", "echo 3.95")
    return tmp_path


def interpreter(path, does):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return path


def minors(project, *names):
    own = {"PATH": f"{project / 'path'}:{os.environ['PATH']}", "HOME": str(project), "PYENV_ROOT": ""}
    given = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "VENV")}
    command = ["sh", str(project / ".ci" / "minors.sh"), *names]
    return subprocess.run(command, env=given | own, capture_output=True, text=True)


def test_each_that_is_found_is_tested_in_an_environment_of_its_own(project):
    on_path = interpreter(project / "path" / "python3.96", "echo 3.96")
    interpreter(project / "path" / "python3.97", "exit 127")  # a pyenv shim whose version is not selected
    of_pyenv = interpreter(project / ".pyenv" / "versions" / "3.97.1" / "bin" / "python3.97", "echo 3.97")

    done = minors(project, "python3.95", "python3.96", "python3.97", "python3.98")

    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("make")]
    assert lines == [
        "== python3.95: left out, `make test` runs on it",
        f"== python3.96: {on_path}",
        f"unit tests in .venv-3.96 with {on_path}",
        f"== python3.97: {of_pyenv}",
        f"unit tests in .venv-3.97 with {of_pyenv}",
        "== python3.98: skipped, it is neither on the PATH nor under pyenv",
        "types in .venv-3.97",
    ]


def test_types_are_checked_with_the_oldest_and_the_newest(project):
    for minor in ("3.94", "3.96", "3.97"):
        interpreter(project / "path" / f"python{minor}", f"echo {minor}")

    done = minors(project, "python3.94", "python3.95", "python3.96", "python3.97")

    assert [line for line in done.stdout.splitlines() if line.startswith("types")] == [
        "types in .venv-3.94",
        "types in .venv-3.97",
    ]


def test_tests_that_fail_on_one_of_them_fail(project):
    interpreter(project / "path" / "python3.96", "echo 3.96")
    (project / "Makefile").write_text(MAKEFILE.replace('@echo "unit', '@exit 1; echo "unit'))

    assert minors(project, "python3.96").returncode != 0
