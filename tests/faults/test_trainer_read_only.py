"""A base_dir that cannot be written: an error before the training starts, no failure once it runs."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.faults.disks import needs_namespaces
from tests.faults.dropping import CALLS, DROPPING, end_exactly, wait_dropping, wait_keeping

pytestmark = needs_namespaces

STARTS = """
import errno
from neural.tracking import ExperimentTracker
try:
    ExperimentTracker("run", base_dir)
except OSError as error:
    print(errno.errorcode[error.errno], error.filename.startswith(str(base_dir)))
"""


def test_read_only_from_the_start_is_an_error_before_the_training(keeper, base_dir):
    base_dir.mkdir()
    disk = keeper.bound_disk(base_dir)

    trainer = keeper.trainer(base_dir, STARTS, disk=disk)
    trainer.succeed()

    assert trainer.output == "EROFS True\n"
    assert list(base_dir.iterdir()) == []


def test_read_only_while_it_runs_drops_exactly_what_it_says(keeper, base_dir):
    (base_dir / ".ntrack").mkdir(parents=True, mode=0o700)
    # Small, so that both files are full soon. An open file remains writable, and nothing is dropped
    # as long as the collector frees the space that the training needs.
    (base_dir / ".ntrack" / "config.toml").write_text(
        f"[agent]\noutbox_limit_bytes = {4 << 20}\n[collector]\nsegment_bytes = {2 << 20}\n"
    )
    disk = keeper.bound_disk(base_dir, read_only=False)
    trainer = keeper.trainer(base_dir, DROPPING, disk=disk, environment={"BURST": "60"})
    trainer.wait_returned(1000, CALLS)
    keeper.collector_of(base_dir, disk).wait_ready()

    cover(disk)
    wait_dropping(trainer)
    disk.run("umount", "--lazy", str(disk.path))
    wait_keeping(trainer)

    end_exactly(trainer, base_dir, disk)


def test_commands_name_the_read_only_disk(keeper, base_dir):
    shutil.copytree(Path(__file__).parents[1] / "golden" / "run-v1", base_dir / "run_0")
    (base_dir / "run_0" / "summary.json").unlink()
    (base_dir / ".ntrack").mkdir(mode=0o700)
    disk = keeper.bound_disk(base_dir)

    def ntrack(*arguments):
        command = [*disk.enter, sys.executable, "-m", "neural.tracking.cli", *arguments, "-d", str(base_dir)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        return done.returncode, done.stdout + done.stderr

    rebuilt, started, examined = ntrack("runs", "rebuild"), ntrack("collector", "start"), ntrack("doctor")

    assert [code for code, _ in (rebuilt, started, examined)] == [1, 1, 1]
    assert "0 of 1 runs rebuilt" in rebuilt[1]
    assert "were correct" not in rebuilt[1]
    assert "does not answer" not in started[1]
    assert all("read-only file system" in text.lower() for _, text in (rebuilt, started, examined))


def cover(disk):
    """Mount the folder read-only over itself: open files remain writable, new ones cannot be created."""
    aside = disk.path.with_name("read-only")
    aside.mkdir()
    # Made read-only elsewhere, because the kernel refuses that while a file is open for writing.
    disk.run("mount", "--bind", str(disk.path), str(aside))
    disk.run("mount", "-o", "remount,bind,ro", str(aside))
    disk.run("mount", "--bind", str(aside), str(disk.path))
