"""Forked, spawned and pickled sessions: a child writes its own session and damages no other."""

import subprocess
import sys

import pytest

from tests.integration.agent.runs import outboxes, run_script, values
from tests.unit.agent.made import account


def test_forked_child_that_logs_has_a_session_of_its_own(tmp_path):
    run_script(
        """
session.emit_metrics({"parent": 1.0})
pid = os.fork()
if pid == 0:
    for i in range(1000): session.emit_metrics({"child": float(i)})
    os._exit(0)
for i in range(1000): session.emit_metrics({"parent": 2.0})
os.waitpid(pid, 0)
session.close(timeout_s=0.1)
""",
        tmp_path,
    )

    found = outboxes(tmp_path)
    parent, child = found["opener"], found["child"]
    assert len(values(parent[0], "parent")) == 1001
    assert values(parent[0], "child") == []
    assert values(child[0], "child") == [float(i) for i in range(1000)]
    account(*parent, 1003)
    account(*child, 1001)


def test_forked_child_that_does_not_log_leaves_no_trace(tmp_path):
    run_script(
        """
pid = os.fork()
if pid == 0: sys.exit(0)
os.waitpid(pid, 0)
session.emit_metrics({"m": 1.0})
session.close(timeout_s=0.1)
""",
        tmp_path,
    )

    assert list(outboxes(tmp_path)) == ["opener"]


def test_child_forked_while_another_thread_opens_the_run_can_open_it_too(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("""
import os, sys, threading
from neural.tracking import ExperimentManager, ExperimentTracker
with ExperimentTracker("run", sys.argv[1], mode="offline") as tracker:
    tracker.log_metrics({"m": 1.0})
os.environ["NTRACK_MODE"] = "offline"
(listed,) = ExperimentManager(sys.argv[1]).list_experiments()
again = ExperimentManager(sys.argv[1]).get_experiment(listed["experiment_id"])
opening, go_on = threading.Event(), threading.Event()
def hold():
    with again._recorder._opening:  # as a thread does in the middle of opening
        opening.set()
        go_on.wait()
threading.Thread(target=hold).start()
opening.wait()
if (pid := os.fork()) == 0:
    again.log_metrics({"child": 2.0})
    os._exit(7)
_, status = os.waitpid(pid, 0)
go_on.set()
sys.exit(os.waitstatus_to_exitcode(status))
""")

    done = subprocess.run([sys.executable, str(script), str(tmp_path / "runs")], timeout=240)

    assert done.returncode == 7


def test_parent_keeps_its_lock_when_a_child_ends(tmp_path):
    done = run_script(
        """
import subprocess
pid = os.fork()
if pid == 0:
    session.emit_metrics({"child": 1.0})
    session.close(timeout_s=0.1)
    sys.exit(0)
os.waitpid(pid, 0)
look = "import sys, pathlib; from neural.tracking.state import outbox_files as o; " + \\
    "print(o.claim(pathlib.Path(sys.argv[1])))"
folder = session.state_folder.outbox / session.id.hex()
print(subprocess.run([sys.executable, "-c", look, folder], capture_output=True, text=True).stdout)
session.close(timeout_s=0.1)
""",
        tmp_path,
    )

    assert done.stdout.strip() == "None"


def test_forks_while_threads_log_never_deadlock(tmp_path):
    run_script(
        """
import threading
stop = False
def work(n):
    while not stop: session.emit_metrics({"t": float(n)})
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
for t in threads: t.start()
accepted = 0
for i in range(20):
    pid = os.fork()
    if pid == 0:
        session.emit_metrics({"child": float(i)})
        os._exit(0)
    os.waitpid(pid, 0)
stop = True
for t in threads: t.join()
n = session.emitted
session.close(timeout_s=0.1)
""",
        tmp_path,
    )

    from neural.tracking.state import outbox_files as outbox_files
    from neural.tracking.state.paths import State
    from tests.unit.agent.made import recover

    for folder in State.for_base_dir(tmp_path).outbox.iterdir():
        events, lost = recover(folder)
        child = outbox_files.read_info(folder).info["role"] == "child"
        account(events, lost, len(events))
        assert not lost
        assert len(values(events, "child")) == (1 if child else 0)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_of_multiprocessing_logs_through_the_session_it_was_given(tmp_path, method):
    script = f"""
import multiprocessing
def work(session):
    for i in range(100): session.emit_metrics({{"worker": float(i)}})
if __name__ == "__main__":
    from tests.integration.agent import workers
    context = multiprocessing.get_context("{method}")
    process = context.Process(target=workers.log_hundred, args=(session,))
    process.start(); process.join()
    assert process.exitcode == 0
    session.close(timeout_s=0.1)
"""
    run_script(script, tmp_path)

    found = outboxes(tmp_path)
    events, lost = found["child"]
    assert values(events, "worker") == [float(i) for i in range(100)]
    assert "end" in events[-1][2]
    account(events, lost, 102)


def test_pickled_session_is_another_session_of_the_same_run(tmp_path):
    done = run_script(
        """
import pickle
copy = pickle.loads(pickle.dumps(session))
copy.emit_metrics({"copy": 1.0})
session.emit_metrics({"own": 1.0})
print(copy.uid == session.uid, copy.id != session.id, copy.run.role)
copy.close(timeout_s=0.1); session.close(timeout_s=0.1)
""",
        tmp_path,
    )

    assert done.stdout.split() == ["True", "True", "child"]
    found = outboxes(tmp_path)
    assert values(found["child"][0], "copy") == [1.0]
    assert values(found["opener"][0], "own") == [1.0]


def test_pickle_that_is_never_used_makes_nothing(tmp_path):
    run_script(
        "import pickle; pickle.loads(pickle.dumps(session)).close(); session.close(timeout_s=0.1)", tmp_path
    )

    assert list(outboxes(tmp_path)) == ["opener"]


def test_grandchild_logs_too(tmp_path):
    run_script(
        """
pid = os.fork()
if pid == 0:
    grandchild = os.fork()
    if grandchild == 0:
        session.emit_metrics({"deep": 1.0})
        os._exit(0)
    os.waitpid(grandchild, 0)
    os._exit(0)
os.waitpid(pid, 0)
session.close(timeout_s=0.1)
""",
        tmp_path,
    )

    assert values(outboxes(tmp_path)["child"][0], "deep") == [1.0]
