"""How a session ends if the script does not end it."""

import signal
import subprocess
import sys

from tests.integration.agent.runs import PROLOGUE, ROOT, outboxes, run_script
from tests.patience import wait_until
from tests.unit.agent.made import account


def end_of(base_dir):
    events, lost = outboxes(base_dir)["opener"]
    account(events, lost, len(events))
    return events[-1][2]["end"]


def impatient(script):
    """Let exit hooks not wait for a collector, which offline mode never starts."""
    hooks = "from neural.tracking.agent import process_hooks as hooks; hooks.default_timeout_s = lambda: 0.1"
    return f"{hooks}\n{script}"


def test_script_that_just_ends_is_completed(tmp_path):
    run_script(impatient("session.emit_metrics({'m': 1.0})"), tmp_path)

    assert end_of(tmp_path) == {"status": "completed", "error": None}


def test_uncaught_exception_is_failed_with_its_traceback(tmp_path):
    done = run_script(impatient("def f(): raise ValueError('oops')\nf()"), tmp_path, check=False)

    end = end_of(tmp_path)
    assert done.returncode == 1
    assert "ValueError: oops" in done.stderr
    assert end["status"] == "failed"
    assert "ValueError: oops" in end["error"]
    assert "in f" in end["error"]


def test_hook_that_was_there_before_still_runs(tmp_path):
    script = """
import neural.tracking.agent
sys.excepthook = lambda *_: print("theirs")
second = open_session(choose_run("two", {}), base + "/two", config=AgentConfig(mode="offline"))
raise ValueError("oops")
"""
    done = run_script(impatient(script), tmp_path, check=False)

    assert done.stdout == "theirs\n"


def test_long_traceback_is_cut_with_a_mark(tmp_path):
    run_script(impatient("raise ValueError('x' * 300_000)"), tmp_path, check=False)

    error = end_of(tmp_path)["error"]
    assert len(error) <= 64 << 10
    assert "[cut]" in error


def test_killed_process_leaves_everything_and_no_end(tmp_path):
    script = PROLOGUE + "\nwhile True:\n    session.emit_metrics({'m': 1.0})\n    time.sleep(0.001)\n"
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT)
    outbox = tmp_path / ".ntrack" / "outbox"
    wait_until(lambda: outbox.exists() and len(outboxes(tmp_path).get("opener", [()])[0]) > 9)
    process.send_signal(signal.SIGKILL)
    process.wait()

    events, lost = outboxes(tmp_path)["opener"]
    account(events, lost, len(events))
    assert not lost
    assert events[-1][2] == {"m": 1.0}


def test_emitting_after_the_end_is_told_once_and_raises_nothing(tmp_path):
    done = run_script(
        """
session.close(timeout_s=0.1)
for i in range(5): assert session.emit_metrics({"m": 1.0}) is False
assert session.emit("text", {"name": "n", "text": "t"}) is False
""",
        tmp_path,
    )

    assert done.stderr.count("is closed") == 1


def test_import_of_the_agent_brings_nothing_heavy():
    done = run_script(
        """
import sys
import neural.tracking.agent
heavy = {"zmq", "numpy", "pyarrow", "matplotlib", "tomlkit", "logging", "aiofiles", "ctypes"}
print(sorted(heavy & set(sys.modules)))
""",
        prologue="",
    )

    assert done.stdout.strip() == "[]"
