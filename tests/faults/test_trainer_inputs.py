"""Any argument of a log call is stored as it is, or the call refuses it by name; the run continues."""

import math
from pathlib import Path

import numpy as np
import pytest

from neural.tracking.reader.run_list import list_runs
from tests.faults.harness import rounds
from tests.faults.outcome import only_run, points_of, verify, wait_settled
from tests.patience import wait_until

VALUES = {
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "-0.0": -0.0,
    "float32": float(np.float32(0.1)),
    "int8": -128.0,
    "bool_": 1.0,
    "0-d": 2.5,
    "one element": 3.5,
    "True": 1.0,
    "2**53+1": 9007199254740992.0,
    "10**300": 1e300,
    "smallest": 5e-324,
    "Decimal": 0.1,
}
LOGS_VALUES = """
import decimal
import numpy as np
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("values", base_dir)
inf = float("inf")
values = {
    "nan": float("nan"), "inf": inf, "-inf": -inf, "-0.0": -0.0, "float32": np.float32(0.1),
    "int8": np.int8(-128), "bool_": np.bool_(True), "0-d": np.array(2.5), "one element": np.array([[3.5]]),
    "True": True, "2**53+1": 2**53 + 1, "10**300": 10**300, "smallest": 5e-324,
    "Decimal": decimal.Decimal("0.1"),
}
assert tracker.log_metrics(values)
for name, value in values.items():
    assert tracker.log_metrics({name: value})
tracker.finish(timeout=120)
"""

# Tries inputs that must be refused; prints those that are not, or not with the expected words.
LOGS_NONSENSE = """
import datetime
import numpy as np
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("nonsense", base_dir)
tracker.log_metrics({"before": 1})

def refused(kind, metrics, *words, step=None):
    try:
        tracker.log_metrics(metrics, step)
    except kind as error:
        missing = [word for word in words if word not in str(error)]
        if missing:
            print(f"{error} does not say {missing}")
    else:
        print(f"{str(metrics)[:100]} was taken")

class Hostile:
    def __float__(self):
        raise RuntimeError("the user's own")

for value in (1j, np.complex64(1), "text", b"1.0", None, [1.0, 2.0], np.array([1.0, 2.0]), {1, 2}, object(),
              Hostile(), np.datetime64("now"), datetime.datetime.now(), print):
    refused(TypeError, {"good": 1.0, "bad": value}, "'bad'")
refused(ValueError, {"huge": 10**400}, "'huge'", "1.8e308")
refused(ValueError, {f"m{i}": i for i in range(10_001)}, "'m10000'", "10,000")
refused(ValueError, {f"{i:05}" + "x" * 200: i for i in range(400)}, "65536")
refused(ValueError, {"x" * 300: 1}, "xxx", "300", "256")
refused(ValueError, {"": 1}, "empty")
for name in ("nul\\0", "line\\nbreak", "\\x1b[31m", "\\u2028", "lone \\ud800"):
    refused(ValueError, {name: 1}, repr(name)[1:-1][:3])
refused(TypeError, {7: 1}, "7")
refused(TypeError, [("a", 1)], "list")
refused(ValueError, {"m": 1}, "2**63", step=2**63)
refused(TypeError, {"m": 1}, "step", step=1.5)
assert tracker.log_metrics({})
tracker.log_metrics({"after": 1})
tracker.finish(timeout=120)
"""
NAMES = (
    "../../escape",
    "/etc/passwd",
    "a\\b",
    "..",
    "🔥 loss",
    "x" * 256,
    "%s{0}$(id)`id`",
    "<b>&amp;",
    " ",
    "a/b",
)
LOGS_NAMES = f"""
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("names", base_dir)
for name in {NAMES!r}:
    assert tracker.log_metrics({{name: 1.5}})
    tracker.log_text(name, name)
    tracker.log_hyperparameters({{name: name}})
tracker.finish(timeout=120)
"""
HOSTILE_RUN_NAMES = (
    "../evil", "/evil", "a/../../evil", "..", ".", "a\\..\\evil", "nul\0", "line\nbreak", "CON", "x" * 300, "",
    "．．／evil", "．．＼evil", "-rf", "~", "$(touch evil)", "; touch evil", "🔥", "*", ".ntrack", "%2e%2e%2f",
)  # fmt: skip
OPENS_RUNS = f"""
from neural.tracking import ExperimentTracker
from neural.tracking.errors import InvalidNameError
for name in {HOSTILE_RUN_NAMES!r}:
    try:
        tracker = ExperimentTracker(name, base_dir)
    except InvalidNameError:
        continue
    tracker.log_metrics({{"m": 1}})
    tracker.finish(timeout=120)
    returned[0] += 1
"""


WAITING = "storing its last events, at most"  # a warning that a busy machine may cause


def end_well(keeper, base_dir, body):
    """Run it to its end; assert that it prints nothing and all is stored; return its run."""
    trainer = keeper.trainer(base_dir, body)
    trainer.succeed()
    assert [line for line in trainer.output.splitlines() if WAITING not in line] == []
    for session in wait_settled(base_dir):
        assert session.gaps == []
    assert verify(base_dir) == 0
    return only_run(base_dir)


def test_real_numbers_of_every_kind_are_stored_exactly(keeper, base_dir):
    run = end_well(keeper, base_dir, LOGS_VALUES)

    assert set(run.metric_names()) == VALUES.keys()
    for name, value in VALUES.items():
        stored = points_of(run, name).value
        assert np.array_equal(stored.view(np.uint64), np.array([value, value]).view(np.uint64)), name


def test_what_is_no_number_is_refused_by_name_and_the_run_goes_on(keeper, base_dir):
    run = end_well(keeper, base_dir, LOGS_NONSENSE)

    assert run.metric_names() == ["after", "before"]


def test_hostile_metric_names_are_only_text(keeper, base_dir, tmp_path):
    run = end_well(keeper, base_dir, LOGS_NAMES)

    assert set(run.metric_names()) == set(NAMES)
    assert all(points_of(run, name).value.tolist() == [1.5] for name in NAMES)
    assert {text["name"] for text in run.texts()} == set(NAMES) == run.params.keys()
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "processes"}
    assert {path.name for path in base_dir.iterdir()} == {".ntrack", run.folder.name}


def test_hostile_run_names_never_leave_base_dir(keeper, base_dir, tmp_path):
    around = {path for path in tmp_path.parent.iterdir()}

    trainer = keeper.trainer(base_dir, OPENS_RUNS)
    trainer.succeed()

    wait_settled(base_dir)
    runs = list_runs(base_dir)
    assert 0 < len(runs) == trainer.returned() < len(HOSTILE_RUN_NAMES)
    assert all(run.folder.parent == base_dir and run.name in HOSTILE_RUN_NAMES for run in runs)
    assert {path.name for path in base_dir.iterdir()} == {".ntrack", *(run.folder.name for run in runs)}
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "processes"}
    assert {path for path in tmp_path.parent.iterdir()} == around
    assert verify(base_dir) == 0


NEW_NAMES = """
import threading
from neural.tracking import ExperimentTracker
def own_bytes():
    status = open("/proc/self/status").read()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])
def come_to_rest():
    # What its own threads import on a busy machine is there by then.
    assert tracker.flush(120)
    for thread in threading.enumerate():
        if thread.name == "ntrack-metadata":
            thread.join()
tracker = ExperimentTracker("new names", base_dir)
ready()
for i in range(COUNT):
    tracker.log_metrics({f"sample_{i}_" + "x" * 150: i / 2}, step=i)
    if i == 5000:
        come_to_rest()
        returned[1] = own_bytes()
come_to_rest()
returned[2] = own_bytes()
tracker.finish(timeout=600)
"""


@pytest.mark.timeout(900)
def test_new_name_at_every_call_keeps_memory_flat(keeper, base_dir):
    count = rounds(10_000, 1_000_000)
    trainer = keeper.trainer(base_dir, f"COUNT = {count}\n" + NEW_NAMES)
    trainer.wait_ready()
    collector = keeper.collector_of(base_dir)
    most = dict.fromkeys(("collector", "store"), 0)

    def ended():
        stores = collector.stores()  # none yet, at first
        for name, processes in (("collector", [collector.process()]), ("store", stores)):
            most[name] = max([most[name], *(most_bytes(process) for process in processes if process)])
        return trainer.process.poll() is not None

    wait_until(ended, 600, "the trainer has ended")

    trainer.succeed()
    assert trainer.returned(2) - trainer.returned(1) < rounds(2, 16) << 20
    assert 0 < most["collector"] <= 200_000_000
    assert 0 < most["store"] <= 400_000_000
    (session,) = wait_settled(base_dir)
    assert session.gaps == []
    run = only_run(base_dir)
    assert len(run.metric_names()) == count
    assert points_of(run, f"sample_{count - 1}_" + "x" * 150).value.tolist() == [(count - 1) / 2]


def most_bytes(process):
    """Return the maximum of its memory; 0 after it has exited."""
    try:
        told = Path(f"/proc/{process.pid}/status").read_text().partition("VmHWM:")[2].split()
    except OSError:
        return 0
    return 1024 * int(told[0]) if told else 0  # a zombie's status has no such line
