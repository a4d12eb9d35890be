"""A W&B server that is away, fails or refuses: everything arrives after its recovery, each row once."""

import json
import os
import secrets
import time
from collections import Counter
from itertools import pairwise

import psutil
import pytest

from neural.tracking import ExperimentTracker
from neural.tracking.state.control_client import request
from tests.integration.sinks.test_wandb_service import services
from tests.wandb_server import FAILING, MUTE, OK, SILENT, WandbServer

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(600)]
pytest.importorskip("wandb")

AWAY = "is away"
CALL_S = 20  # W&B's own calls may take a quarter of it
SOON = {"WANDB__FILE_STREAM_TIMEOUT_SECONDS": "5", "WANDB__FILE_STREAM_RETRY_WAIT_MAX_SECONDS": "3"}


@pytest.fixture
def server():
    made = WandbServer(secrets.token_hex(20))
    yield made
    made.shut_down()


@pytest.fixture
def lab(bench, server, monkeypatch, tmp_path):
    """Return a bench with a sink for that server, and another sink that works."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(home / name.lower()))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    for name, value in SOON.items():  # otherwise W&B waits three minutes
        monkeypatch.setenv(name, value)
    bench.key_file = tmp_path.parent / f"{tmp_path.name}-key"  # not where W&B searches for the key
    repair(bench, server.key)
    bench.add("good")
    folder = bench.base / "wandb-files"
    keyed = {"mode": "online", "base_url": server.url, "api_key_file": bench.key_file}
    bench.add("lab", "wandb", folder=folder, call_timeout_s=CALL_S, **keyed)
    return bench


def repair(bench, key):
    bench.key_file.touch(mode=0o600)
    bench.key_file.write_text(key)


def trouble(server, how):
    if how == AWAY:
        server.shut_down()
    else:
        server.fault = how


def heal(server, how):
    server.fault = OK
    if how == AWAY:
        server.listen()


class Training:
    """A training that logs; it asserts that neither it nor the other sink waits."""

    def __init__(self, bench):
        self.bench = bench
        self.tracker = ExperimentTracker("train", base_dir=bench.base, auto_visualize=False)
        self.tracker.log_hyperparameters({"lr": 0.1})
        self.total = 0

    def log(self, count):
        for _ in range(count):
            began_s = time.perf_counter()
            self.tracker.log_metrics({"loss": self.total + 0.5}, step=self.total)
            assert time.perf_counter() - began_s < 1.0
            self.total += 1
        mine = f"train_{self.tracker.experiment_id}"
        self.bench.until(lambda: len(self.bench.points("good", mine)) == self.total, 60)

    def expected(self):
        return {("loss", step, step + 0.5): 1 for step in range(self.total)}

    def held(self, server):
        """Return how often the server has each (metric, step, value) of the run."""
        return Counter(
            (name, row["step"], value)
            for row in server.run(self.tracker.metadata["uid"]).rows()
            for name, value in row.items()
            if name != "step" and not name.startswith("_")
        )


def flush_now(bench):
    request(bench.state, "errand", sink="lab", timeout_s=120)


def openings(server):
    """Return how many openings of a run the server has answered: each is a query, then an update."""
    steps = [name for name in server.answered if name in ("RunResumeStatus", "UpsertBucket")]
    return sum(pair == ("RunResumeStatus", "UpsertBucket") for pair in pairwise(steps))


def unhurt(bench):
    """Assert that no event is suspected or a dead letter because of the server's failure."""
    assert bench.status("lab").dead_letters == 0
    left = (bench.state.root / "sinks" / "lab" / "trying.json").read_bytes()
    told = json.loads(left) if left else {"deaths": 0, "suspects": {}}
    assert (told["deaths"], told["suspects"]) == (0, {})


def arrived(bench, server, training):
    """Wait until the server has everything, and assert that it has each point once."""
    run = server.run(training.tracker.metadata["uid"])
    bench.until(lambda: training.held(server).keys() == training.expected().keys(), 300)
    flush_now(bench)
    bench.until(lambda: bench.status("lab").lag_events == 0, 120)
    bench.until(lambda: bench.status("lab").state == "ok", 120)
    run = server.run(training.tracker.metadata["uid"])
    assert training.held(server) == training.expected()
    assert [row["_step"] for row in run.rows()] == list(range(training.total))
    assert run.overwritten == []
    assert run.config["lr"]["value"] == 0.1
    assert run.exit_code == 0
    unhurt(bench)


def told(bench, *words):
    """Return whether ``sinks ls`` shows the sink as retrying, with this text as its error."""
    status = bench.status("lab")
    return status.state == "retrying" and all(word in (status.last_error or "") for word in words)


@pytest.mark.parametrize("how", [AWAY, FAILING, SILENT])
def test_server_in_trouble_at_the_start_gets_all_of_the_run_once(lab, server, how):
    trouble(server, how)
    training = Training(lab)
    training.log(100)
    lab.until(lambda: told(lab, "W&B cannot be reached"), 120)
    assert "W&B cannot be reached" in lab.ntrack("sinks", "ls").stdout
    assert training.tracker.finish(timeout=120)

    heal(server, how)

    arrived(lab, server, training)
    assert lab.status("lab").restarts == 0


@pytest.mark.parametrize(("how", "deadlines"), [(AWAY, 3), (FAILING, 1), (SILENT, 1), (MUTE, 1)])
def test_server_in_trouble_in_the_middle_gets_all_of_the_run_once(lab, server, how, deadlines):
    training = Training(lab)
    training.log(100)
    flush_now(lab)
    lab.until(lambda: len(training.held(server)) == 100, 120)

    opened = openings(server)
    training.log(50)
    lab.until(lambda: openings(server) > opened, 120)
    trouble(server, how)
    began_s = time.monotonic()
    training.log(50)
    flush_now(lab)
    lab.until(lambda: told(lab, "W&B has not taken all of run train_"), 120)
    lab.until(lambda: time.monotonic() - began_s > deadlines * CALL_S, 120)
    training.log(50)
    assert told(lab, "W&B")
    unhurt(lab)
    assert training.tracker.finish(timeout=120)
    heal(server, how)

    arrived(lab, server, training)
    assert lab.status("lab").restarts == 0, lab.state.daemon_log.read_text()


def test_collector_that_stops_while_the_server_is_silent_leaves_nothing_running_and_goes_on_later(lab, server):
    training = Training(lab)
    training.log(100)
    lab.until(lambda: openings(server) == 1, 120)
    trouble(server, SILENT)
    flush_now(lab)
    lab.until(lambda: told(lab, "W&B has not taken all of run train_"), 120)
    assert services(lab)

    lab.ntrack("collector", "stop")

    assert services(lab) == []
    heal(server, SILENT)
    training.log(50)
    assert training.tracker.finish(timeout=120)
    arrived(lab, server, training)


def test_key_rejected_in_the_middle_loses_no_row_and_is_found_nowhere(lab, server):
    old, new = server.key, secrets.token_hex(20)
    training = Training(lab)
    training.log(100)
    flush_now(lab)
    lab.until(lambda: len(training.held(server)) == 100, 120)

    training.log(50)
    server.key = new
    flush_now(lab)
    lab.until(lambda: told(lab, "rejected"), 120)
    training.log(50)
    listing = lab.ntrack("sinks", "ls").stdout + lab.ntrack("status", "--json").stdout
    assert training.tracker.finish(timeout=120)
    running = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    repair(lab, new)

    arrived(lab, server, training)
    lab.ntrack("collector", "stop")
    for key in (old, new):
        files = [path for path in lab.base.parent.rglob("*") if path.is_file() and not path.is_symlink()]
        assert [path for path in files if key.encode() in path.read_bytes()] == []
        assert not any(key in text for text in [listing, *running])


def test_run_that_was_deleted_on_the_page_waits_and_another_goes_on(lab, server):
    deleted, other = Training(lab), Training(lab)
    deleted.log(50)
    flush_now(lab)
    lab.until(lambda: len(deleted.held(server)) == 50, 120)
    server.delete(deleted.tracker.metadata["uid"])

    deleted.log(50)
    other.log(50)
    assert other.tracker.finish(timeout=120)
    assert deleted.tracker.finish(timeout=120)

    lab.until(lambda: lab.status("lab").state == "holding", 120)
    assert (
        f"run train_{deleted.tracker.experiment_id} waits: W&B does not take it" in lab.status("lab").last_error
    )
    lab.until(lambda: other.held(server) == other.expected(), 120)
    assert server.run(deleted.tracker.metadata["uid"]).rows() == []
    unhurt(lab)
    server.deleted.clear()  # the run was restored
    lab.ntrack("sinks", "disable", "lab")
    lab.ntrack("sinks", "enable", "lab")
    lab.until(lambda: lab.status("lab").state == "ok" and lab.status("lab").lag_events == 0, 120)
    assert len(deleted.held(server)) >= 50  # the events that were not delivered before
    unhurt(lab)
