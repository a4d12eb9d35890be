"""The MLflow sink with a real `mlflow server` on loopback, read through MLflow's own client."""

import http.server
import math
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from neural.tracking.errors import HoldRun, RefusedForGood, RetryLater
from neural.tracking.sinks.base import RunInfo, SinkPlace
from neural.tracking.sinks.contract import SinkContract, event, every_kind, metrics, status
from neural.tracking.sinks.mlflow_sink import MlflowSink
from tests.ports import free_port

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(1800)]  # on a busy machine a start takes minutes
pytest.importorskip("mlflow")

LARGEST = 1.7976931348623157e308


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    log = (folder / "server.log").open("wb")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    stores = [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "a"),
    ]
    env = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        [*command, *stores, "--workers", "1"], stdout=log, stderr=log, env=env, start_new_session=True
    )
    uri = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 900
    while True:
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=5):
                break
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.3)
    yield uri
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(120)
    log.close()


@pytest.fixture(autouse=True)
def patient_commands(monkeypatch):
    """Let requests wait longer, for a busy server."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "900")


class TestMlflow(SinkContract):
    @pytest.fixture(autouse=True)
    def _server(self, server, request):
        self.uri = server
        self.experiment = request.node.name

    def make_sink(self, place):
        return MlflowSink(place, tracking_uri=self.uri, experiment=self.experiment)

    def kept_value(self, value):
        return math.copysign(LARGEST, value) if math.isinf(value) else value


def opened(folder, uri, experiment):
    run = RunInfo("ab" * 16, "shown", folder / "shown_abababab", 1_700_000_000 * 10**9)
    sink = MlflowSink(SinkPlace("mlflow", folder, "0123abcd"), tracking_uri=uri, experiment=experiment)
    sink.open()
    return run, sink


def stored(uri, run):
    from mlflow import MlflowClient

    return MlflowClient(uri).get_run(run.memory["run_id"])


def test_client_finds_parameters_tags_text_and_status(tmp_path, server):
    from mlflow import MlflowClient

    run, sink = opened(tmp_path, server, "kinds")
    sink.write([e._replace(run=run) for e in [*every_kind(), status("failed", error="ValueError: nan")]])

    found = stored(server, run)
    assert found.info.run_name == "shown_abababab"
    assert found.info.status == "FAILED"
    assert found.info.start_time == 1_700_000_000_000
    assert found.data.params["lr"] == "0.1"
    assert found.data.params["opt/name"] == "sgd"
    assert found.data.params["long"].endswith("[cut]")
    assert found.data.tags["tag.later"] == "true"
    assert found.data.tags["mlflow.note.content"] == "second"
    assert found.data.tags["ntrack.error"] == "ValueError: nan"
    (text,) = MlflowClient(server).list_artifacts(run.memory["run_id"], "text/sample/one")
    assert text.path.endswith("step_4_3.txt")


def test_points_keep_their_own_time(tmp_path, server):
    from mlflow import MlflowClient

    run, sink = opened(tmp_path, server, "times")
    sink.write([metrics(7, step=3, loss=0.25)._replace(run=run)])

    (point,) = MlflowClient(server).get_metric_history(run.memory["run_id"], "loss")
    assert point.timestamp == 1_700_000_000_070


def test_changed_parameter_is_refused_and_the_others_are_kept(tmp_path, server):
    run, sink = opened(tmp_path, server, "changed")
    sink.write([event(1, "params", {"values": {"lr": 0.1}})._replace(run=run)])

    with pytest.raises(RefusedForGood, match=r"lr='0\.2'"):
        sink.write([event(2, "params", {"values": {"lr": 0.2, "depth": 3}})._replace(run=run)])

    assert stored(server, run).data.params == {"lr": "0.1", "depth": "3"}


@pytest.mark.parametrize("kind", ["metrics", "params", "tags", "status"])
def test_run_that_was_deleted_there_is_held_back_until_it_is_restored(tmp_path, server, kind):
    from mlflow import MlflowClient

    run, sink = opened(tmp_path, server, f"deleted {kind}")
    sink.write([metrics(1, step=1, loss=0.5)._replace(run=run)])
    made = [*every_kind(), metrics(9, step=9, loss=8.5), status("completed")]
    late = next(each for each in made if each.kind == kind)._replace(run=run)
    MlflowClient(server).delete_run(run.memory["run_id"])

    with pytest.raises(HoldRun, match="it is deleted in MLflow; restore it there") as held_back:
        sink.write([late])

    assert held_back.value.uid == run.uid
    MlflowClient(server).restore_run(run.memory["run_id"])
    sink.write([late])


def test_run_of_a_deleted_experiment_is_held_back(tmp_path, server):
    from mlflow import MlflowClient

    client = MlflowClient(server)
    client.delete_experiment(client.create_experiment("gone"))
    run, sink = opened(tmp_path, server, "gone")

    with pytest.raises(HoldRun, match="experiment 'gone' is deleted in MLflow; restore it there"):
        sink.write([metrics(1, step=1, loss=0.5)._replace(run=run)])


def test_server_that_is_down_is_a_trouble_of_the_world(tmp_path):
    nobody = f"http://user:secret@127.0.0.1:{free_port()}"
    run, sink = opened(tmp_path, nobody, "down")

    with pytest.raises(RetryLater) as caught:
        sink.write([metrics(1, step=1, loss=0.5)._replace(run=run)])

    assert "secret" not in str(caught.value)


class Answering(http.server.BaseHTTPRequestHandler):
    """A server that gives the same answer to all requests, or none."""

    code = 500

    def do_GET(self):
        if self.code == 0:
            self.server.released.wait(120)
            return
        body = b"no"
        self.send_response(self.code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("code", "told"),
    [(500, "INTERNAL_ERROR"), (503, "could not take it"), (401, "credentials"), (0, "timed out|timeout")],
)
def test_server_that_fails_denies_or_keeps_silent_is_tried_again(tmp_path, monkeypatch, code, told):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60" if code else "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    handler = type("Handler", (Answering,), {"code": code})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as bad:
        bad.released = threading.Event()
        serving = threading.Thread(target=bad.serve_forever)
        serving.start()
        try:
            run, sink = opened(tmp_path, f"http://127.0.0.1:{bad.server_port}", "bad")

            with pytest.raises(RetryLater, match=f"(?i){told}"):
                sink.write([metrics(1, step=1, loss=0.5)._replace(run=run)])
        finally:
            bad.released.set()
            bad.shutdown()
            serving.join()
