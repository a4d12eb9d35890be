"""The collector's credentials go only to its own addresses: real MLflow and W&B, recording servers."""

import base64
import contextlib
import os

import pytest

from neural.tracking.errors import HoldRun, RefusedForGood
from neural.tracking.sinks import own_credentials
from neural.tracking.sinks.base import RunInfo, SinkPlace
from neural.tracking.sinks.contract import event, metrics
from neural.tracking.sinks.mlflow_address import address_of
from tests.recorder import Recorder

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

CANARY = "c4a7" * 10
MLFLOW_SECRETS = {
    "MLFLOW_TRACKING_USERNAME": "owner",
    "MLFLOW_TRACKING_PASSWORD": CANARY,
    "AWS_ACCESS_KEY_ID": CANARY,
    "AWS_SECRET_ACCESS_KEY": CANARY,
}
SIGNED = base64.b64encode(f"owner:{CANARY}".encode())


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Return a new home folder; the environment has no variables of backends."""
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "WANDB_", "AWS_", "NETRC")):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(folder / name.lower()))
    return folder


@pytest.fixture
def stranger():
    made = Recorder()
    yield made
    made.close()


def run_of(folder, **env):
    return RunInfo("ab" * 16, "shown", folder / "shown_abababab", 10**18, env=env)


def netrc_for(home, host, secret):
    file = home / ".netrc"
    file.write_text(f"machine {host} login api password {secret}\n")
    file.chmod(0o600)


class TestMlflow:
    @pytest.fixture(autouse=True)
    def _there(self, monkeypatch):
        pytest.importorskip("mlflow")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def deliver(self, folder, run, *events, **options):
        from neural.tracking.sinks.mlflow_sink import MlflowSink

        sink = MlflowSink(SinkPlace("mlflow", folder, "0123abcd"), **options)
        sink.open()
        sink.write([e._replace(run=run) for e in events or (metrics(1, step=1, loss=0.5),)])

    def test_nothing_of_its_own_goes_where_the_run_alone_says(self, tmp_path, home, stranger, monkeypatch):
        for name, value in MLFLOW_SECRETS.items():
            monkeypatch.setenv(name, value)
        (home / ".mlflow").mkdir()
        (home / ".mlflow" / "credentials").write_text(
            f"[mlflow]\nmlflow_tracking_username = owner\nmlflow_tracking_password = {CANARY}\n"
        )
        (home / ".netrc").write_text(f"default login owner password {CANARY}\n")
        before = dict(os.environ)

        with contextlib.suppress(Exception):
            self.deliver(tmp_path, run_of(tmp_path, MLFLOW_TRACKING_URI=stranger.url))

        said = b"".join(stranger.requests)
        assert stranger.requests, "the run was not delivered where it says"
        assert b"authorization" not in said.lower()
        assert CANARY.encode() not in said
        assert SIGNED not in said
        assert before.items() <= os.environ.items()

    @pytest.mark.parametrize("named_in", ["setting", "environment"])
    def test_its_own_go_to_its_own_address(self, tmp_path, stranger, monkeypatch, named_in):
        for name, value in MLFLOW_SECRETS.items():
            monkeypatch.setenv(name, value)
        if named_in == "environment":
            monkeypatch.setenv("MLFLOW_TRACKING_URI", stranger.url)
        options = {"tracking_uri": stranger.url} if named_in == "setting" else {}

        with contextlib.suppress(Exception):
            self.deliver(tmp_path, run_of(tmp_path, MLFLOW_TRACKING_URI=stranger.url + "/"), **options)

        assert SIGNED in b"".join(stranger.requests)

    def test_what_netrc_holds_for_a_host_goes_to_that_host(self, tmp_path, home, stranger, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", CANARY)
        netrc_for(home, "127.0.0.1", "for-that-host")

        with contextlib.suppress(Exception):
            self.deliver(tmp_path, run_of(tmp_path, MLFLOW_TRACKING_URI=stranger.url))

        said = b"".join(stranger.requests)
        assert base64.b64encode(b"api:for-that-host") in said
        assert CANARY.encode() not in said

    def test_run_whose_server_wants_credentials_waits_and_says_what_to_do(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", CANARY)
        picky = Recorder(answer=(401, b'{"error_code": "UNAUTHENTICATED", "message": "who are you?"}'))

        with pytest.raises(HoldRun, match=r"named by the run alone.*tracking_uri") as told:
            self.deliver(tmp_path, run_of(tmp_path, MLFLOW_TRACKING_URI=picky.url))

        assert told.value.uid == "ab" * 16
        assert CANARY.encode() not in b"".join(picky.requests)
        picky.close()

    def test_server_the_run_alone_names_has_no_file_put_elsewhere(self, tmp_path):
        address = address_of("", {"MLFLOW_TRACKING_URI": "http://a.lab:5000"}, tmp_path)

        for where in (str(tmp_path), f"file://{tmp_path}", "s3://bucket/x", "sftp://a/b"):
            with pytest.raises(RefusedForGood, match="named by the run alone"):
                address.check_artifacts(where)
        address.check_artifacts("mlflow-artifacts:/1/ab/artifacts")


class TestWandb:
    @pytest.fixture(autouse=True)
    def _there(self):
        pytest.importorskip("wandb")

    def opened(self, folder, **options):
        from neural.tracking.sinks.wandb_sink.sink import WandbSink

        sink = WandbSink(SinkPlace("wandb", folder, "0123abcd", 60.0), folder=str(folder), **options)
        sink.open()
        return sink

    @pytest.fixture
    def server(self):
        from tests.contract.test_wandb_server import forget_service
        from tests.wandb_server import WandbServer

        made = WandbServer("5e7f" * 10)
        yield made
        forget_service()
        made.shut_down()

    @pytest.mark.parametrize("kept_in", ["environment", "file", "netrc default"])
    def test_run_whose_server_it_alone_names_waits_and_the_key_stays_here(
        self, tmp_path, home, stranger, monkeypatch, kept_in
    ):
        options = {}
        if kept_in == "environment":
            monkeypatch.setenv("WANDB_API_KEY", CANARY)
        elif kept_in == "file":
            (home / "key").write_text(CANARY)
            (home / "key").chmod(0o600)
            options = {"api_key_file": str(home / "key")}
        else:
            (home / ".netrc").write_text(f"default login api password {CANARY}\n")
        sink = self.opened(tmp_path, **options)
        run = run_of(tmp_path, WANDB_BASE_URL=stranger.url)

        with pytest.raises(HoldRun, match=r"named by the run alone.*base_url.*wandb login"):
            sink.write([metrics(1, step=1, loss=0.5)._replace(run=run)])

        sink.close()
        assert stranger.requests == []

    def test_key_that_netrc_holds_for_a_server_goes_there_and_no_other(
        self, tmp_path, home, server, stranger, monkeypatch
    ):
        monkeypatch.setenv("WANDB_API_KEY", CANARY)
        monkeypatch.setenv("WANDB_BASE_URL", stranger.url)  # here the address belongs to the collector's owner
        netrc_for(home, server.url.removeprefix("http://"), server.key)
        sink = self.opened(tmp_path)
        there = run_of(tmp_path, WANDB_BASE_URL=server.url)

        sink.write([metrics(1, step=1, loss=0.5)._replace(run=there)])
        sink.flush()

        assert server.run(there.uid).rows()
        own = RunInfo("cd" * 16, "own", tmp_path / "own_cdcdcdcd", 10**18)
        with contextlib.suppress(Exception):
            sink.write([event(1, "metrics", {"loss": 0.5}, step=1)._replace(run=own)])
        sink.close()
        said = b"".join(stranger.requests)
        assert base64.b64encode(f"api:{CANARY}".encode()) in said
        assert base64.b64encode(f"api:{server.key}".encode()) not in said


def test_same_address_is_told_by_what_is_reached():
    same = own_credentials.same_address

    assert same("http://a:80/", "HTTP://A")
    assert same("https://a", "https://a:443/")
    assert not same("http://a", "https://a")
    assert not same("http://a", "http://a.evil")
    assert not same("http://a", "http://a/other")
    assert not same("http://a@evil", "http://a")
