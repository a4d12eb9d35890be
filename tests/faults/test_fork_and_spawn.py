"""Children that log, however Python starts them: all is stored, and the parent is not affected."""

import numpy as np
import pytest

from tests.faults.harness import rounds
from tests.faults.outcome import only_run, points, verify, wait_settled

# Each process logs `name` with the values 0, 1, 2 …; work() is the function of a worker.
LOGGING = """
import multiprocessing, pickle, sys, threading, time
from neural.tracking import ExperimentTracker

def work(tracker, name, count):
    for i in range(count):
        assert tracker.log_metrics({name: i}, step=i)

if __name__ == "__main__":
    tracker = ExperimentTracker("family", base_dir)
"""
FORK = """
    children = []
    for number in range(CHILDREN):
        time.sleep(0.003 * number)  # at another moment of the parent's start each time
        children.append(_os.fork())
        if children[-1] == 0:
            work(tracker, f"child-{number}", 300)
            tracker.finish()
            _os._exit(0)
        work(tracker, f"parent-{number}", 300)
    for child in children:
        assert _os.waitpid(child, 0)[1] == 0
    tracker.finish()
"""
# Like a DataLoader: workers live as long as the loader, take from a queue, log, and are ended
# by SIGTERM at any moment.
WORKER_POOL = """
    def load(tracker, number, tasks, done):
        while True:
            task = tasks.get()
            tracker.log_metrics({f"load-{number}": task}, step=task)
            done.put(task)
    context = multiprocessing.get_context("fork")
    tasks, done = context.SimpleQueue(), context.SimpleQueue()
    workers = [context.Process(target=load, args=(tracker, n, tasks, done), daemon=True) for n in range(4)]
    for worker in workers:
        worker.start()
    for task in range(400):
        tasks.put(task)
        tracker.log_metrics({"train": task}, step=task)
    for _ in range(400):
        done.get()
    for worker in workers:
        worker.terminate()
        worker.join()
    tracker.finish()
"""
SPAWN = """
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(tracker, f"spawned-{n}", 300)) for n in range(2)]
    for worker in workers:
        worker.start()
    work(tracker, "parent", 300)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    tracker.finish()
"""
PICKLED = """
    copy = pickle.loads(pickle.dumps(tracker))
    work(copy, "copy", 300)
    work(tracker, "own", 300)
    copy.finish()
    work(tracker, "own after the copy's end", 300)
    tracker.finish()
"""
THREADS = """
    threads = [threading.Thread(target=work, args=(tracker, f"thread-{n}", COUNT)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tracker.finish()
"""


def stored(keeper, base_dir, body, **constants):
    """Run the body to its end, check that all is stored; return the values by name, of all sessions."""
    text = "".join(f"{name} = {value}\n" for name, value in constants.items())
    keeper.trainer(base_dir, text + LOGGING + body).succeed()
    for session in wait_settled(base_dir):
        assert (session.gaps, session.missing, session.doubled) == ([], [], [])
    assert verify(base_dir) == 0
    run = only_run(base_dir)
    assert run.status == "completed"
    found = {}
    for name in run.metric_names():
        pieces = [piece for piece in points(run, name).values() if len(piece.value)]
        assert all(np.array_equal(piece.value, piece.step) for piece in pieces)
        found[name] = [piece.value.tolist() for piece in pieces]
    return found


def test_forked_children_log_beside_their_parent(keeper, base_dir):
    children = rounds(12, 60)

    found = stored(keeper, base_dir, FORK, CHILDREN=children)

    names = {f"{who}-{number}" for who in ("child", "parent") for number in range(children)}
    assert found == {name: [list(range(300))] for name in names}


def test_workers_of_a_loader_log_until_they_are_terminated(keeper, base_dir):
    found = stored(keeper, base_dir, WORKER_POOL)

    assert found.pop("train") == [list(range(400))]
    assert sorted(task for pieces in found.values() for piece in pieces for task in piece) == list(range(400))


def test_spawned_workers_log_through_the_tracker_they_were_given(keeper, base_dir):
    found = stored(keeper, base_dir, SPAWN)

    assert found == {name: [list(range(300))] for name in ("parent", "spawned-0", "spawned-1")}


def test_pickled_tracker_writes_to_the_same_run_and_ends_only_itself(keeper, base_dir):
    found = stored(keeper, base_dir, PICKLED)

    assert found == {name: [list(range(300))] for name in ("copy", "own", "own after the copy's end")}


@pytest.mark.parametrize("count", [rounds(10_000, 200_000)])
def test_threads_share_a_tracker(keeper, base_dir, count):
    found = stored(keeper, base_dir, THREADS, COUNT=count)

    assert found == {f"thread-{n}": [list(range(count))] for n in range(8)}
