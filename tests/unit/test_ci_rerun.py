"""What CI does after a failed test: `.ci/rerun.py` in small projects of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RERUN = Path(__file__).parents[2] / ".ci" / "rerun.py"

# Passes or fails as the letters say, one letter for each run; the last one is for all later runs.
TEST = """
from pathlib import Path
def test_{name}():
    runs = Path("{name}.runs")
    number = len(runs.read_text()) if runs.exists() else 0
    runs.write_text("x" * (number + 1))
    assert "{outcomes}"[min(number, {last})] == "p"
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "Makefile").write_text(
        f".PHONY: test heavy\ntest:\n\t@test ! -e lint.fails\n\t@{sys.executable} -m pytest tests\n"
        f"heavy:\n\t@{sys.executable} -m pytest heavy\n"
    )
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = -m 'not heavy' -p pytest_reportlog.plugin\nmarkers = heavy: not run by default\n"
    )
    for folder in ("tests", "heavy"):
        (tmp_path / folder).mkdir()
        add(tmp_path, "good", "p", folder=folder)
    return tmp_path


def add(project, name, outcomes, folder="tests"):
    """Add a test with these outcomes, one for each run."""
    body = TEST.format(name=name, outcomes=outcomes, last=len(outcomes) - 1)
    (project / folder / f"test_{folder}_{name}.py").write_text(body)


def ci(project, *targets):
    own = {"CI_PYTHON": sys.executable, "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, str(RERUN), *(targets or ("test", "heavy"))],
        cwd=project,
        env=os.environ | own,
        capture_output=True,
        text=True,
    )


def runs_of(project, name):
    return len((project / f"{name}.runs").read_text())


def test_all_that_passes_is_run_once(project):
    done = ci(project)

    assert done.returncode == 0
    assert "FLAKY" not in done.stdout
    assert runs_of(project, "good") == 2  # one of each target


def test_what_passes_twice_alone_is_named_last_and_stops_nothing(project):
    add(project, "shaky", "fpp")

    done = ci(project)

    assert done.returncode == 0
    assert runs_of(project, "shaky") == 3
    assert done.stdout.splitlines()[-1] == "FLAKY: tests/test_tests_shaky.py::test_shaky"
    assert runs_of(project, "good") == 2, "the second target was not run"


def test_what_is_not_run_by_default_is_run_again_too(project):
    add(project, "shaky", "fpp", folder="heavy")
    file = project / "heavy" / "test_heavy_shaky.py"
    file.write_text("import pytest\npytestmark = pytest.mark.heavy\n" + file.read_text())
    makefile = project / "Makefile"
    makefile.write_text(makefile.read_text().replace("pytest heavy", "pytest -m '' heavy"))

    done = ci(project)

    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "FLAKY: heavy/test_heavy_shaky.py::test_shaky"


def test_what_failed_beside_others_is_run_again_too(project):
    add(project, "shaky", "fpp", folder="heavy")
    makefile = project / "Makefile"
    side_by_side = "pytest -p xdist.plugin -n 2 --dist loadfile heavy"
    makefile.write_text(makefile.read_text().replace("pytest heavy", side_by_side))

    done = ci(project)

    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "FLAKY: heavy/test_heavy_shaky.py::test_shaky"


def test_variables_of_a_target_are_given_to_make(project):
    makefile = project / "Makefile"
    makefile.write_text("FAILS ?= true\n" + makefile.read_text() + "unit:\n\t@! $(FAILS)\n")

    assert ci(project, "unit").returncode != 0
    assert ci(project, "unit FAILS=false").returncode == 0


@pytest.mark.parametrize("outcomes", ["f", "fpf", "ffp"])
def test_what_fails_again_fails(project, outcomes):
    add(project, "broken", outcomes)

    done = ci(project)

    assert done.returncode != 0
    assert "failed again: tests/test_tests_broken.py::test_broken" in done.stdout
    assert "FLAKY" not in done.stdout


@pytest.mark.parametrize(("count", "code"), [(4, 0), (5, 2)])
def test_five_fail_whatever_they_do_alone(project, count, code):
    for number in range(count):
        add(project, f"shaky{number}", "fpp", folder="tests" if number < 3 else "heavy")

    done = ci(project)

    assert done.returncode == code
    assert done.stdout.count("FLAKY: ") == (count if code == 0 else 0)


def test_a_file_that_cannot_be_read_fails_at_once(project):
    add(project, "shaky", "fpp")
    (project / "tests" / "test_typo.py").write_text("import no_such_module\n")

    done = ci(project)

    assert done.returncode != 0
    assert "run again" not in done.stdout


def test_what_fails_before_the_tests_fails_at_once(project):
    (project / "lint.fails").touch()

    done = ci(project)

    assert done.returncode != 0
    assert "run again" not in done.stdout


def test_pytest_ended_from_outside_fails_at_once(project):
    add(project, "shaky", "fpp")
    ends = "import os, signal\ndef test_ends():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    (project / "tests" / "test_zzz.py").write_text(ends)

    done = ci(project)

    assert done.returncode != 0
    assert "run again" not in done.stdout


def test_ci_runs_every_set_through_it():
    script = (RERUN.parent / "run").read_text()

    assert "python3 .ci/rerun.py test test-frameworks" in script
    assert "make test-minors" in script
    assert "python3 .ci/rerun.py" in (RERUN.parent / "minors.sh").read_text()
