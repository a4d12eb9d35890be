"""Where files are, and their maximum length."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "neural" / "tracking"
LINKS = ("agent", "collector", "sinks")
CODE = ("agent", "collector", "sinks", "neural", "tests", "examples", "benchmarks")
LONGEST = 400  # the aim is about 350


@pytest.mark.parametrize("name", LINKS)
def test_part_is_linked_into_the_package(name):
    link = PACKAGE / name

    assert link.is_symlink()
    assert os.readlink(link) == f"../../{name}"
    assert (link / "__init__.py").samefile(ROOT / name / "__init__.py")


@pytest.mark.parametrize("name", LINKS)
def test_link_is_committed_as_a_link(name):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")

    entry = subprocess.run(
        ["git", "ls-files", "-s", f"neural/tracking/{name}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert entry.startswith("120000 ")


def test_neural_is_a_namespace_that_others_can_share():
    assert not (ROOT / "neural" / "__init__.py").exists()


def test_no_module_beside_the_ui_script_bears_a_standard_name():
    # `python neural/tracking/comparison_ui.py` puts that folder first on sys.path.
    names = {
        path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()
    }

    assert names & sys.stdlib_module_names == set()


def test_no_file_is_too_long_to_read():
    too_long = {
        path.relative_to(ROOT).as_posix(): lines
        for folder in CODE
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > LONGEST
    }

    assert too_long == {}


def test_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()
