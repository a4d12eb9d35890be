"""The commands, examples and names of tests in the documents are those of the project."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from neural.tracking.collector import commands

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "neural" / "tracking" / "README.md"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def examples(path):
    return re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def test_command_line_help_is_in_the_documents():
    written = (ROOT / "docs" / "cli.md").read_text()

    assert written == load(ROOT / "docs" / "make_cli.py").reference(), (
        "run: python docs/make_cli.py > docs/cli.md"
    )


@pytest.mark.parametrize("path", [ROOT / "README.md", GUIDE], ids=["README", "guide"])
def test_python_in_the_readme_runs(path, tmp_path):
    source = "\n".join(examples(path))
    base = tmp_path / "runs"
    try:
        done = subprocess.run(
            [sys.executable, "-c", source],
            cwd=tmp_path,
            env={**os.environ, "NTRACK_DIR": str(base)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    finally:
        commands.stop(base, timeout_s=120)

    assert done.returncode == 0, done.stderr
    assert list(base.glob("*/curves.png")) or list(tmp_path.glob("curves.png"))


@pytest.mark.parametrize(
    "document",
    sorted(
        path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), GUIDE]
    ),
)
def test_links_between_documents_lead_somewhere(document):
    path = ROOT / document
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())

    missing = [link for link in links if not (path.parent / link).exists()]

    assert missing == []


def test_guarantees_name_tests_that_are_there():
    told = set(
        re.findall(r"`((?:tests/)[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs" / "guarantees.md").read_text())
    )

    for file, name in told:
        assert (ROOT / file).is_file(), file
        assert not name or f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"
