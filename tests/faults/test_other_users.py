"""Another user's folder can be read, and what of it cannot be is said."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.disks import needs_namespaces

SOMEBODY = 23_456  # inside the namespace, where root is only this user, nobody
GOLDEN = Path(__file__).parents[1] / "golden" / "run-v1"


@needs_namespaces
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("command", ["verify", "status", "runs ls"])
def test_commands_that_read_work_in_another_users_folder(keeper, base_dir, command):
    shutil.copytree(GOLDEN, base_dir / "golden_00112233")
    (base_dir / ".ntrack" / "outbox").mkdir(parents=True, mode=0o700)
    (base_dir / ".ntrack").chmod(0o700)
    disk = keeper.bound_disk(base_dir, read_only=False)
    for path in [base_dir, *base_dir.rglob("*")]:
        os.chown(path, SOMEBODY, SOMEBODY)
    module = [sys.executable, "-P", "-m", "neural.tracking.cli", *command.split()]

    done = subprocess.run(
        [*disk.enter, *module, "--base-dir", str(base_dir)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert ("another user's" in done.stdout) == (command == "verify")
