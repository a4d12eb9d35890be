"""Runs make targets that run pytest, and tells a test that fails now and then from one that fails.

A test that failed is run again, alone, twice. One that passes both times is printed last, as
``FLAKY: name``, and does not fail the run; one that fails again does, and so do five or more.

    python3 .ci/rerun.py test test-frameworks

A target may come with variables: "unit VENV=.venv-3.13". `CI_PYTHON` names the Python that runs a test again.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHON = os.environ.get("CI_PYTHON", ".venv/bin/python")  # what `make` has set up
TIMES = 2  # more would let a test through that fails every third time
TOO_MANY = 5  # so many at once say something of the change, or of the machine
TESTS_FAILED = 1  # pytest's exit status: all ran, some failed


def run_target(target: str, log: Path) -> int:
    """Run ``make target``, whose pytest writes its report into ``log``; return make's exit status."""
    options = f"{os.environ.get('PYTEST_ADDOPTS', '')} --report-log={log}"
    return subprocess.run(["make", *target.split()], env=os.environ | {"PYTEST_ADDOPTS": options}).returncode


def failed_tests(log: Path) -> list[str]:
    """Return the tests of a report that failed; none where something else than tests did.

    That is: nothing was tested (format, lint, types), a file could not be collected, pytest was ended.
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
    """Return whether the test passes each time when nothing else runs."""
    one = [PYTHON, "-m", "pytest", "-m", "", test]  # -m "": also one that is not run by default
    return all(subprocess.run(one).returncode == 0 for _ in range(TIMES))


def main(targets: list[str]) -> int:
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
