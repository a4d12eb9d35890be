"""The default waiting times of calls are the documented ones.

Fixtures of other tests lengthen these times. So a separate process reads them from a tracker's calls, with a
clock that does not advance.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3]
BOTH = [5.0, 60.0]
MARKS_OF_A_CONTAINER = ("/.dockerenv", "/run/.containerenv")

# Prints for how long a read, finish() and an end without finish() let the session wait.
CALLS = """
import json, os, sys, types
from neural.tracking import ExperimentTracker
from neural.tracking.agent import process_hooks
from neural.tracking.agent.session import Session
from neural.tracking.api import recorder

base_dir, container, *marks = sys.argv[1:]
exists = os.path.exists
os.path.exists = lambda path: path == container if path in marks else exists(path)
tracker, left_open = (ExperimentTracker(name, base_dir) for name in ("finished", "left-open"))
for one in (tracker, left_open):
    one.log_metrics({"loss": 0.5})

waited = {}
flush, close = Session.flush, Session.close
Session.state = property(lambda session: "connected")
Session.flush = lambda session, timeout_s: bool(waited.setdefault("read", timeout_s)) and flush(session, 0.0)
tracker.get_metrics("loss")

def closing(session, status="completed", error=None, timeout_s=None):
    waited[session.run.name] = timeout_s
    return close(session, status, error, 0.0)

Session.close = closing
recorder.time = process_hooks.time = types.SimpleNamespace(monotonic=lambda: 0.0)
tracker.finish()
process_hooks._at_exit()
print(json.dumps(waited))
"""


def waits(base_dir, *, container="", **environment):
    """Return the maximum waiting times, in seconds, of a read and of both kinds of an end."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("NTRACK_", "SLURM_", "KUBERNETES_"))}
    command = [sys.executable, "-c", CALLS, str(base_dir), container, *MARKS_OF_A_CONTAINER]
    done = subprocess.run(
        command,
        env={**own, "NTRACK_MODE": "offline", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def promised(file, pattern):
    """Return the numbers in the matching sentence of a document, which must exist."""
    text = " ".join((DOCS / file).read_text().split())
    found = re.search(pattern, text)
    assert found is not None, f"{file} no longer says: {pattern}"
    return [float(number) for number in found.groups()]


def test_end_waits_5_s_and_a_read_1_s_as_the_documents_say(tmp_path):
    told = waits(tmp_path)

    assert told == {"read": 1.0, "finished": 5.0, "left-open": 5.0}
    assert promised("README.md", r"`finish\(\)` returns within (\d+) s") == [5.0]
    assert promised("docs/guarantees.md", r"\*\*P3\.\*\* The timeout is (\d+) s, or (\d+) s where") == BOTH
    assert promised("docs/guarantees.md", r"what this process logged: at most (\d+) s, and not at all") == [1.0]
    assert promised("neural/tracking/tracker.py", r"timeout: seconds; default (\d+), and (\d+) where") == BOTH


@pytest.mark.parametrize(
    "surroundings",
    [
        *({"container": mark} for mark in MARKS_OF_A_CONTAINER),
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
        {"SLURM_STEP_ID": "0"},
    ],
    ids=lambda given: "".join(given.values() if "container" in given else given),
)
def test_end_waits_60_s_where_the_collector_ends_with_the_training(tmp_path, surroundings):
    told = waits(tmp_path, **surroundings)

    assert told == {"read": 1.0, "finished": 60.0, "left-open": 60.0}
    assert promised("README.md", r"`finish\(\)` takes up to (\d+) s where the collector ends") == [60.0]
    assert promised("docs/remote.md", r"`finish\(\)` waits up to (\d+) s there") == [60.0]
