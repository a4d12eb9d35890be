"""The README's first command."""

import subprocess
import sys

import pytest

from tests.integration.api.conftest import ROOT


@pytest.mark.timeout(1800)  # eight processes and a plot: takes minutes on busy cores
def test_demo_trains_two_processes_into_one_run_and_proves_it(base):
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "examples" / "digits" / "train.py"),
            "--epochs",
            "8",
            "--base-dir",
            str(base),
        ],
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = base.glob("digits_*")
    assert (folder / "plots" / "digits.png").stat().st_size > 10_000
    for part in (
        "best test accuracy 9",
        "completed",
        str(folder),
        "jsonl",
        "every event is stored exactly once",
    ):
        assert part in done.stdout
    assert len(list((folder / "versions" / "weights.npy").iterdir())) == 2 * 8
    assert (folder / "plots" / "confusion.png").read_bytes()[1:4] == b"PNG"
    assert "all 18 versions are intact" in done.stdout
