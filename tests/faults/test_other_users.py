"""Another user's folder can be read; commands report the files that cannot be."""

import fcntl
import hashlib
import json
import os
import shutil
import socket
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


TRIES = """
from neural.tracking import ExperimentTracker
from neural.tracking.errors import ConfigError
try:
    ExperimentTracker("mine", base_dir).log_metrics({"loss": 1.0})
except ConfigError as error:
    print("refused:", error)
"""


@needs_namespaces
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_nothing_is_told_to_a_collector_that_somebody_else_put_where_ours_would_be(keeper, base_dir, tmp_path):
    base_dir.mkdir()
    theirs = tmp_path / "var-tmp"
    digest = hashlib.sha256(os.fsencode(base_dir)).hexdigest()[:16]
    planted = theirs / f"ntrack-{os.geteuid()}" / digest
    planted.mkdir(parents=True)
    theirs.chmod(0o1777)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    (planted / "endpoint.json").write_text(json.dumps({"pid": os.getpid(), "data": f"ipc://{tmp_path / 's'}"}))
    disk = keeper.bound_disk(base_dir, read_only=False)
    disk.run("mount", "--bind", str(theirs), "/var/tmp")
    for path in (planted, *planted.iterdir(), planted.parent):
        os.chown(path, SOMEBODY, SOMEBODY)
        path.chmod(0o777)
    with (planted / "collector.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        trainer = keeper.trainer(base_dir, TRIES, disk=disk, environment={"NTRACK_FS": "network"})
        trainer.succeed()

    assert f"refused: /var/tmp/ntrack-{os.geteuid()} is another user's folder" in trainer.output
    assert "NTRACK_STATE_DIR" in trainer.output
    listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        listener.accept()
    listener.close()
    assert sorted(path.name for path in planted.iterdir()) == ["collector.lock", "endpoint.json"]
    assert not list(base_dir.glob("mine_*"))


@needs_namespaces
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_interpreter_that_somebody_planted_in_a_folder_of_runs_is_never_run(keeper, base_dir, tmp_path):
    evil, ran = tmp_path / "evil.sh", tmp_path / "ran"
    evil.write_text(f"#!/bin/sh\ntouch {ran}\n")
    evil.chmod(0o755)
    config = base_dir / ".ntrack" / "config.toml"
    config.parent.mkdir(parents=True)
    base_dir.chmod(0o777)
    config.write_text(f'[sinks.jsonl]\ntype = "jsonl"\npython = "{evil}"\n')
    for path in (config, config.parent):
        os.chown(path, SOMEBODY, SOMEBODY)
    disk = keeper.bound_disk(base_dir, read_only=False)
    environment = {"NTRACK_STATE_DIR": str(tmp_path / "state")}

    trainer = keeper.trainer(base_dir, TRIES, disk=disk, environment=environment)
    trainer.succeed()
    collector = keeper.run_collector(base_dir, disk=disk, environment=environment)

    assert "refused: settings are not used: " in trainer.output
    assert "belongs to another user" in trainer.output
    assert collector.wait(120) == 1
    assert "belongs to another user" in keeper.output(collector)
    assert not ran.exists()
