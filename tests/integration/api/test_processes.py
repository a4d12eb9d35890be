"""Scripts with ordinary ends, ranks that share a run, children that log."""

import os
import signal
import subprocess
import sys

import pytest

from neural.tracking import ExperimentManager
from tests.patience import wait_until

HEAD = "import os\nfrom neural.tracking import ExperimentTracker\n"


def only_run(base):
    (listed,) = ExperimentManager(base).list_experiments()
    return ExperimentManager(base).get_experiment(listed["experiment_id"])


def wait_for_status(base, status):
    def reached():
        listed = ExperimentManager(base).list_experiments()
        return bool(listed) and listed[0]["status"] == status

    wait_until(reached, what=f"status {status}")
    return only_run(base)


def test_script_that_just_ends_is_completed(base, run_script):
    gathered = "while 'command' not in t.metadata: time.sleep(0.05)\n"  # late metadata is left out
    run_script(
        HEAD
        + f"import time\nt = ExperimentTracker('one', {str(base)!r})\nt.log_metrics({{'loss': 1}})\n{gathered}"
    )

    run = wait_for_status(base, "completed")
    assert run.get_metrics("loss") == [1.0]
    assert run.metadata["command"].endswith("script_0.py")


def test_script_that_raises_is_failed_with_its_traceback(base, run_script):
    source = HEAD + f"t = ExperimentTracker('one', {str(base)!r})\nt.log_metrics({{'loss': 1}})\n1 / 0\n"

    done = run_script(source, check=False)

    assert "ZeroDivisionError" in done.stderr
    assert "ZeroDivisionError" in wait_for_status(base, "failed").metadata["error"]


def test_killed_script_is_failed_soon_and_loses_nothing(base):
    source = HEAD + (
        f"t = ExperimentTracker('one', {str(base)!r})\n"
        "for i in range(1000): t.log_metrics({'loss': i})\n"
        "print('logged', flush=True)\nimport time; time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"logged\n"
    wait_until(lambda: ExperimentManager(base).list_experiments())

    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    run = wait_for_status(base, "failed")
    assert run.get_metrics("loss") == list(range(1000))


RANK = (
    HEAD
    + """
import sys
with ExperimentTracker("ranks", sys.argv[1]) as tracker:
    rank = int(os.environ["RANK"])
    for step in range(10):
        tracker.log_metrics({"loss": step + rank, f"own/{rank}": step}, step=step)
    print("logged", flush=True)
    sys.stdin.read()  # stay until both have opened the run
"""
)


def run_ranks(base, source=RANK, **environ):
    """Run two ranks at the same time."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", source, str(base)],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    for rank in ranks:  # both have joined before one ends
        assert rank.stdout.readline() == b"logged\n"
    for rank in ranks:
        rank.stdin.close()
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    for rank in ranks:
        rank.stdout.close()


@pytest.mark.parametrize("environ", [{}, {"NTRACK_RUN_ID": "job"}, {"TORCHELASTIC_RUN_ID": "t"}], ids=str)
def test_ranks_log_into_one_run(base, environ):
    run_ranks(base, **environ)

    run = wait_for_status(base, "completed")
    assert run.metadata["ranks"] == [0, 1]
    assert run.get_metrics("loss") == [step + 0.5 for step in range(10)]
    assert run.get_metrics("loss", ranks="min") == list(range(10))
    assert run.get_metrics("loss", ranks="max") == list(range(1, 11))
    assert run.get_metrics("loss", ranks=1) == list(range(1, 11))
    assert sorted(run.get_metrics("loss", ranks="all")) == sorted([*range(10), *range(1, 11)])
    assert run.get_metrics("own/1") == list(range(10))
    assert run.get_best_metric("loss") == (9.5, 9)
    assert len(run.metrics_history) == 20


def test_unknown_choice_of_ranks_is_refused(base, run_script):
    run_script(HEAD + f"ExperimentTracker('one', {str(base)!r}).log_metrics({{'loss': 1}})")

    with pytest.raises(ValueError, match="ranks"):
        wait_for_status(base, "completed").get_metrics("loss", ranks="median")


def test_same_job_again_is_the_run_s_next_attempt(base, run_script):
    source = HEAD + f"ExperimentTracker('one', {str(base)!r}).log_metrics({{'loss': 1}})"

    run_script(source, NTRACK_RUN_ID="job")
    wait_for_status(base, "completed")
    run_script(source, NTRACK_RUN_ID="job")

    wait_until(lambda: only_run(base).metadata["attempts"] == 2)
    run = wait_for_status(base, "completed")
    assert run.get_metrics("loss") == [1.0, 1.0]


def test_two_runs_of_one_name_in_a_process_stay_apart(base, run_script):
    source = HEAD + (
        f"for i in range(2):\n    t = ExperimentTracker('one', {str(base)!r})\n"
        "    t.log_metrics({'loss': i})\n    t.finish(timeout=120)\n"
    )

    run_script(source, NTRACK_RUN_ID="job")

    listed = ExperimentManager(base).list_experiments()
    assert len({run["experiment_id"] for run in listed}) == 2


def test_forked_child_logs_into_its_parent_s_run(base, run_script):
    source = HEAD + (
        f"t = ExperimentTracker('one', {str(base)!r})\nt.log_metrics({{'parent': 1}})\n"
        "child = os.fork()\n"
        "if child == 0:\n    t.log_metrics({'child': 2}); t.flush(120); os._exit(0)\n"
        "os.waitpid(child, 0); t.log_metrics({'parent': 3}); t.finish(timeout=120)\n"
    )

    run_script("import warnings; warnings.simplefilter('ignore')\n" + source)

    run = wait_for_status(base, "completed")
    wait_until(lambda: run.get_metrics("child") == [2.0])
    assert run.get_metrics("parent") == [1.0, 3.0]


def test_pickled_tracker_logs_into_the_same_run(base, run_script):
    source = HEAD + (
        "import multiprocessing\n"
        "def work(tracker):\n    tracker.log_metrics({'child': 2}); tracker.finish(timeout=120)\n"
        "if __name__ == '__main__':\n"
        f"    t = ExperimentTracker('one', {str(base)!r})\n    t.log_metrics({{'parent': 1}})\n"
        "    p = multiprocessing.get_context('spawn').Process(target=work, args=(t,))\n"
        "    p.start(); p.join(); t.finish(timeout=120)\n"
    )

    run_script(source)

    run = wait_for_status(base, "completed")
    assert (run.get_metrics("parent"), run.get_metrics("child")) == ([1.0], [2.0])


def test_importing_and_constructing_brings_nothing_heavy(base, run_script):
    source = HEAD + (
        f"import sys\nt = ExperimentTracker('one', {str(base)!r}, mode='offline')\n"
        "t.log_metrics({'a': 1}); t.log_hyperparameters({'b': 2})\n"
        "heavy = {'numpy', 'pyarrow', 'matplotlib', 'rich', 'click', 'asyncio', 'tomlkit'}\n"
        "print(*sorted(heavy & set(sys.modules)))\nt.finish(timeout=0)\n"
    )

    assert run_script(source).stdout.split() == []


def test_program_whose_threads_gevent_made_one_is_not_held_up(base, run_script):
    pytest.importorskip("gevent")
    source = (
        "from gevent import monkey; monkey.patch_all()\nimport gevent, time\n"
        + HEAD
        + f"t = ExperimentTracker('one', {str(base)!r})\n"
        "def log(k):\n    for i in range(50): t.log_metrics({f'm{k}': i}); gevent.sleep(0.01)\n"
        "gevent.joinall([gevent.spawn(log, k) for k in range(3)])\n"
        "assert t.flush(120)\nassert t.finish(timeout=120)\n"
    )

    run_script(source)

    assert all(only_run(base).get_metrics(f"m{k}") == list(range(50)) for k in range(3))


# The module that makes an interpreter without threads depends on the version; neither is public yet.
ISOLATED = """
import sys
if sys.version_info >= (3, 13):
    import _interpreters as parts
    limits = {"check_multi_interp_extensions": False, "use_main_obmalloc": True, "gil": "shared"}
    part = parts.create(parts.new_config("isolated", allow_threads=False, **limits))
else:
    import _xxsubinterpreters as parts
    part = parts.create()
failed = parts.run_string(part, "import sys; sys.path[:0] = " + repr(sys.path) + INNER)
assert failed is None, failed
"""


def test_interpreter_that_may_have_no_threads_loses_nothing_and_waits_for_nobody(base, run_script):
    inner = HEAD + (
        f"import sys, time\nt = ExperimentTracker('one', {str(base)!r})\n"
        "for i in range(20): t.log_metrics({'loss': i})\n"
        "began = time.monotonic()\nassert not t.flush(120)\nassert not t.finish(timeout=120)\n"
        "assert time.monotonic() - began < 60\n"
    )
    run_script(f"INNER = {chr(10) + inner!r}\n{ISOLATED}")

    wait_for_status(base, "completed")
    assert only_run(base).get_metrics("loss") == list(range(20))
