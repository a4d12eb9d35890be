"""The W&B sink with the real wandb package in offline mode, read from its run files."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import psutil
import pytest

from neural.tracking.errors import RetryLater
from neural.tracking.sinks.base import RunInfo, SinkPlace
from neural.tracking.sinks.contract import SinkContract, event, every_kind, metrics, status
from neural.tracking.sinks.wandb_sink.sink import WandbSink
from tests.contract.wandb_files import is_number, records, rows, run_files

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(1800)]
pytest.importorskip("wandb")

AXIS = "step"


class TestWandb(SinkContract):
    def make_sink(self, place):
        return WandbSink(place, mode="offline", folder=str(place.base_dir))

    def died(self):
        import wandb

        wandb.teardown()  # otherwise W&B's service keeps the run for this process

    @pytest.fixture(autouse=True)
    def _alone(self):
        yield
        self.died()

    def points(self, sink, run):
        sink.flush()
        for row in rows(run.folder.parent, run.uid):
            for name, value in row.items():
                if name != AXIS and not name.startswith("_") and is_number(value):
                    yield name, int(row[AXIS]), float(value)


def delivered(folder, *events):
    run = RunInfo("ab" * 16, "shown", folder / "shown_abababab", 10**18)
    sink = WandbSink(SinkPlace("wandb", folder, "0123abcd"), mode="offline", folder=str(folder))
    sink.open()
    sink.write([e._replace(run=run) for e in events])
    sink.flush()
    return run


def test_run_files_hold_config_tags_notes_and_the_exit_code(tmp_path):
    run = delivered(tmp_path, *every_kind(), metrics(9, step=3, loss=0.5), status("failed", error="nan"))

    found = [record for path in run_files(tmp_path, run.uid) for record in records(path)]
    config = {i.key or "/".join(i.nested_key) for r in found if r.HasField("config") for i in r.config.update}
    runs = [record.run for record in found if record.HasField("run")]
    assert {"lr", "opt"} <= {key.split("/")[0] for key in config}
    assert {"a", "b c", "later"} <= set(runs[-1].tags)
    assert runs[-1].notes == "second"
    assert {r.run_id for r in runs} == {run.uid}
    assert [r.exit.exit_code for r in found if r.HasField("exit")][-1] == 1


def test_parameters_merge_as_they_do_here_also_over_flushes_and_parts(tmp_path):
    run = RunInfo("ab" * 16, "shown", tmp_path / "shown_abababab", 10**18)
    sink = WandbSink(SinkPlace("wandb", tmp_path, "0123abcd"), mode="offline", folder=str(tmp_path))
    sink.open()
    for seq, values in enumerate(
        ({"net": {"depth": 2}}, {"net": {"width": 3}, "lr": 0.1}, {"net": {"depth": 4}})
    ):
        sink.write([event(seq + 1, "params", {"values": values, "as_text": []})._replace(run=run)])
        sink.flush()

    last = [r for r in records(run_files(tmp_path, run.uid)[-1]) if r.HasField("config")]
    shown = {i.key or i.nested_key[0]: json.loads(i.value_json) for r in last for i in r.config.update}
    assert shown["net"] == {"depth": 4, "width": 3}


def test_rows_keep_their_own_time_and_ordinal(tmp_path):
    run = delivered(tmp_path, metrics(1, step=9, loss=0.5), metrics(2, step=4, loss=1.5))

    found = rows(tmp_path, run.uid)
    assert [row["_step"] for row in found] == [0, 1]
    assert [row[AXIS] for row in found] == [9, 4]
    assert found[0]["_timestamp"] == pytest.approx(1_700_000_000.01, abs=1e-3)


def test_server_that_is_down_is_tried_again_and_never_an_end_of_the_process(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    run = RunInfo("ab" * 16, "shown", tmp_path / "x", 10**18)
    address = "http://127.0.0.1:9"
    place = SinkPlace("wandb", tmp_path, "0123abcd", call_timeout_s=12.0)
    sink = WandbSink(place, mode="online", base_url=address, folder=str(tmp_path))
    sink.open()

    for _ in range(2):  # the first try must not make the second one fail in another way
        with pytest.raises(RetryLater, match="cannot be reached"):
            sink.write([metrics(1, step=1, loss=0.5)._replace(run=run)])

    sink.close()


# A process of its own, because other tests need W&B's service of this one.
WRITER = """
import json, sys
from pathlib import Path
from neural.tracking.sinks.contract import metrics
from neural.tracking.sinks.base import RunInfo, SinkPlace
from neural.tracking.sinks.wandb_sink.sink import WandbSink
folder = Path(sys.argv[1])
run = RunInfo("ab" * 16, "shown", folder / "x", 10**18)
sink = WandbSink(SinkPlace("wandb", folder, "0123abcd"), mode="offline", folder=str(folder))
sink.open()
sink.write([metrics(1, step=1, loss=0.5)._replace(run=run)])
print("ready", flush=True)
sys.stdin.readline()
sink.write([metrics(n, step=n, loss=0.5)._replace(run=run) for n in range(2, 5000)])
sink.flush()
print("flushed", flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_flush_never_claims_what_a_dead_or_suspended_service_did_not_take(tmp_path, how):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    services = []
    try:
        assert process.stdout.readline() == "ready\n"
        services = psutil.Process(process.pid).children(recursive=True)
        assert services
        for service in services:
            service.send_signal(how)

        process.stdin.write("go\n")
        process.stdin.flush()
        deadline = time.monotonic() + 15
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)

        assert process.poll() != 0  # it hangs or has failed: in both cases the worker is started again
    finally:
        process.kill()
        for service in services:
            if service.is_running():
                os.kill(service.pid, signal.SIGKILL)
        process.communicate()


def test_service_killed_between_flushes_loses_nothing(tmp_path):
    contract = TestWandb()
    from neural.tracking.sinks.contract import _ContractWorker

    worker = _ContractWorker(contract, tmp_path)
    worker.deliver(*(metrics(n, step=n, loss=n - 0.5) for n in range(1, 101)))

    # A worker that dies with its service is a process; here its successor starts with the saved memory.
    worker.write(*(metrics(n, step=n, loss=n - 0.5) for n in range(101, 201)))
    worker.crash()
    worker.deliver(*(metrics(n, step=n, loss=n - 0.5) for n in range(101, 301)))

    found = Counter(point for point in contract.points(worker.sink, worker.run))
    assert set(found) == {("loss", n, n - 0.5) for n in range(1, 301)}
    steps = {row["_step"]: row[AXIS] for row in rows(tmp_path, worker.run.uid)}
    assert json.dumps(steps) == json.dumps({n: n + 1 for n in range(300)})  # a repeated event has the same row
