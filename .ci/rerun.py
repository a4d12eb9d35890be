"""Runs make targets that run pytest, and distinguishes flaky tests from tests that fail every time.

It runs a failed test again, alone, twice. A test that passes both times does not fail the run; the last lines
of the output name it as ``FLAKY: name``. A test that fails again fails the run, and so do five or more.

    python3 .ci/rerun.py test test-frameworks

A target may have variables: "unit VENV=.venv-3.13". `CI_PYTHON` names the Python that runs a test again.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHON = os.environ.get("CI_PYTHON", ".venv/bin/python")  # what `make` has set up
TIMES = 2  # all of them must pass
TOO_MANY = 5  # the cause of so many is the change or the machine
TESTS_FAILED = 1  # pytest's exit status: all ran, some failed


def run_target(target: str, log: Path) -> int:
    """Run ``make target``, whose pytest writes its report into ``log``; return make's exit status."""
    options = f"{os.environ.get('PYTEST_ADDOPTS', '')} --report-log={log}"
    return subprocess.run(["make", *target.split()], env=os.environ | {"PYTEST_ADDOPTS": options}).returncode


def failed_tests(log: Path) -> list[str]:
    """Return the failed tests of a report; empty if something other than a test failed.

    Examples: format, lint or types failed before pytest, a file could not be collected, pytest was killed.
    """
    if not log.exists():
        return []
    reports = [json.loads(line) for line in log.read_text().splitlines()]
    ended = [report["exitstatus"] for report in reports if report["$report_type"] == "SessionFinish"]
    failed = [report for report in reports if report.get("outcome") == "failed"]
    if ended != [TESTS_FAILED] or any(report["$report_type"] != "TestReport" for report in failed):
        return []
    return list(dict.fromkeys(report["nodeid"] for report in failed))  # its teardown may have failed, too


def passes_alone(test: str) -> bool:
    """Return whether the test passes every time when no other test runs."""
    one = [PYTHON, "-m", "pytest", "-m", "", test]  # -m "": also a test that does not run by default
    return all(subprocess.run(one).returncode == 0 for _ in range(TIMES))


def main(targets: list[str]) -> int:
    """Run the targets up to the first that fails; return its exit status, or 0."""
    flaky: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, target in enumerate(targets):
            log = Path(folder, f"{number}.jsonl")
            status = run_target(target, log)
            if status == 0:
                continue
            failed = failed_tests(log)
            if not failed:
                return status
            if len(flaky) + len(failed) >= TOO_MANY:
                print(f"{len(flaky) + len(failed)} tests failed; none is run again", flush=True)
                return status
            print(f"run again, alone, {TIMES} times: {', '.join(failed)}", flush=True)
            again = [test for test in failed if not passes_alone(test)]
            if again:
                print(f"failed again: {', '.join(again)}", flush=True)
                return status
            flaky += failed
    for test in flaky:
        print(f"FLAKY: {test}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
