"""The sdist and wheel that users install, made from the files in git and tried in a new environment."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("agent", "collector", "sinks")
UI_NEEDS = ("cachetools", "dash", "dash_ag_grid", "dash_bootstrap_components", "flask")  # of the ui extra


def run(*command, **options):
    result = subprocess.run(command, capture_output=True, text=True, timeout=500, **options)
    assert result.returncode == 0, f"{command} left with {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Return a copy of the files to commit now: links remain links, and ignored files are left out."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    target = tmp_path_factory.mktemp("checkout")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.is_symlink() or source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)
    return target


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    """Return the wheel made from the sdist, so that a file that is missing in either is noticed."""
    out = tmp_path_factory.mktemp("dist")
    make_sdist = f"import setuptools.build_meta as b; b.build_sdist({str(out)!r})"
    run(sys.executable, "-c", make_sdist, cwd=checkout)
    (sdist,) = out.glob("*.tar.gz")
    run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
        "--disable-pip-version-check", "--wheel-dir", str(out), str(sdist),
    )  # fmt: skip
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Return the bin folder of an environment with the wheel and our dependencies, without our sources."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(
        sys.executable, "-m", "pip", "--quiet", "--python", str(python), "--disable-pip-version-check",
        "install", "--no-index", "--no-deps", str(wheel),
    )  # fmt: skip
    # A path from a .pth file is searched, but .pth files in it, as of an editable install, are not run.
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def clean_environment():
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NTRACK_"))}


def test_wheel_holds_every_source_file(checkout, wheel):
    package = checkout / "neural" / "tracking"
    own = {p.relative_to(checkout).as_posix() for p in package.rglob("*.py")}
    linked = {
        f"neural/tracking/{p.relative_to(checkout).as_posix()}"
        for part in PARTS
        for p in (checkout / part).rglob("*.py")
    }

    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}

    assert held == own | linked


def test_wheel_says_that_it_is_typed(wheel):
    assert "neural/tracking/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_wheel_holds_what_the_page_is_made_of(checkout, wheel):
    assets = checkout / "neural" / "tracking" / "ui" / "assets"
    own = {p.relative_to(checkout).as_posix() for p in assets.rglob("*") if p.is_file()}

    assert own <= set(zipfile.ZipFile(wheel).namelist())


def test_every_module_is_imported_from_the_installed_wheel(installed, tmp_path):
    program = """
import importlib, pkgutil, sys
import neural.tracking
assert neural.tracking.__file__.startswith(sys.prefix), neural.tracking.__file__
for module in pkgutil.walk_packages(neural.tracking.__path__, "neural.tracking."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if not module.name.startswith("neural.tracking.ui.") or error.name not in sys.argv[1:]:
                raise
        print(module.name)
"""

    names = run(
        str(installed / "python"), "-c", program, *UI_NEEDS, cwd=tmp_path, env=clean_environment()
    ).split()

    assert {f"neural.tracking.{part}" for part in PARTS} <= set(names)


def test_console_script_answers(installed, tmp_path):
    told = run(str(installed / "ntrack"), "--help", cwd=tmp_path, env=clean_environment())

    assert "Usage" in told


@pytest.mark.frameworks
def test_page_is_served_from_the_installed_wheel(installed, tmp_path):
    command = [str(installed / "ntrack"), "ui", "--port", "0", "--base-dir", "runs"]
    environment = {**clean_environment(), "COLUMNS": "1000"}
    server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        told = ""
        while not (address := re.search(r"http://\S+/", told)):
            line = server.stdout.readline()
            assert line, told
            told += line
        for path in ("", "_dash-layout", "assets/page.js", "assets/bootstrap.min.css", "assets/early/theme.js"):
            with urllib.request.urlopen(address[0] + path, timeout=240) as answer:
                assert answer.read(), path
    finally:
        server.terminate()
        server.wait(120)
        server.stdout.close()
