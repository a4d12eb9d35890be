"""The W&B sink with the real wandb package and a simulated server: every row counts once."""

import contextlib
import copy
import secrets
from collections import Counter

import pytest

from neural.tracking.errors import HoldRun, RefusedForGood, RetryLater, WriteAgain
from neural.tracking.sinks.base import RunInfo, SinkPlace
from neural.tracking.sinks.contract import SinkContract, event, metrics, status
from neural.tracking.sinks.wandb_sink.sink import WandbSink
from tests.contract.wandb_files import is_number
from tests.wandb_server import FAILING, OK, WandbServer

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.timeout(300),
    # W&B's own threads, after its service was killed.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]
pytest.importorskip("wandb")

PATIENCE_S = 5.0
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)


@pytest.fixture
def server(monkeypatch, tmp_path):
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name.lower()))
    for name in ("FILE_STREAM", "FILE_TRANSFER", "GRAPHQL"):
        monkeypatch.setenv(f"WANDB__{name}_RETRY_WAIT_MAX_SECONDS", "2")  # otherwise W&B tries once a minute
    made = WandbServer(secrets.token_hex(20))
    monkeypatch.setenv("WANDB_API_KEY", made.key)
    monkeypatch.setenv("WANDB_BASE_URL", made.url)
    yield made
    left = WandbSink(SinkPlace("wandb", tmp_path, "0123abcd"))
    left._runs.abandon()  # otherwise the next test, with another server, uses this service
    forget_service()
    made.shut_down()


def forget_service():
    import wandb
    from wandb.sdk import wandb_setup

    connection = wandb_setup._singleton and wandb_setup._singleton._connection
    if connection and connection._proc:
        connection._proc.join()  # it was killed
    with contextlib.suppress(Exception, SystemExit):
        wandb.teardown()


def held(server, run):
    """Return every (metric, step, value) on the server, with repeats."""
    return [
        (name, row["step"], float(value))
        for row in server.run(run.uid).rows()
        for name, value in row.items()
        if name != "step" and not name.startswith("_") and is_number(value)
    ]


class TestWandbOnline(SinkContract):
    @pytest.fixture(autouse=True)
    def _served(self, server):
        self.server = server

    def make_sink(self, place):
        made = WandbSink(place, mode="online", folder=str(place.base_dir))
        made.delivery = (
            "exactly once"  # stricter than the sink's promise: a server, unlike offline files, ignores repeats
        )
        self.made = made
        return made

    def points(self, sink, run):
        sink.flush()
        return held(self.server, run)

    def died(self):
        self.made._runs.abandon()
        forget_service()


@pytest.fixture
def run(tmp_path):
    return RunInfo("ab" * 16, "shown", tmp_path / "shown_abababab", 10**18)


def opened(folder):
    sink = WandbSink(SinkPlace("wandb", folder, "0123abcd", PATIENCE_S * 4), mode="online", folder=str(folder))
    sink.open()
    return sink


def retry(action):
    """Repeat the action as a worker does, until it succeeds; return the texts of the errors."""
    told = []
    while True:
        try:
            action()
            return told
        except (WriteAgain, HoldRun):
            raise
        except RetryLater as error:
            told.append(str(error))


def test_events_around_one_that_is_refused_are_logged_once(server, run, tmp_path):
    sink = opened(tmp_path)
    data = {"name": "gone", "path": str(tmp_path / "gone"), "type": "artifact"}
    before, gone, after = (
        made._replace(run=run)
        for made in (metrics(1, step=1, loss=0.5), event(2, "artifact", data), metrics(3, step=3, loss=2.5))
    )

    with pytest.raises(RefusedForGood) as refused:
        retry(lambda: sink.write([before, gone, after]))
    retry(sink.flush)

    assert [each for each, _ in refused.value.refusals] == [gone]

    assert held(server, run) == [("loss", 1, 0.5), ("loss", 3, 2.5)]


def test_end_that_is_waited_for_twice_is_one_end(server, run, tmp_path):
    sink = opened(tmp_path)
    retry(lambda: sink.write([metrics(1, step=1, loss=0.5)._replace(run=run)]))
    retry(sink.flush)
    retry(lambda: sink.write([metrics(2, step=2, loss=1.5)._replace(run=run)]))
    server.shut_down()
    ends = [metrics(3, step=3, loss=2.5)._replace(run=run), status("failed")._replace(run=run)]

    with pytest.raises(RetryLater, match="has not taken all of run"):
        sink.write(ends)
    server.listen()
    retry(lambda: sink.write(ends))
    retry(sink.flush)

    assert held(server, run) == [("loss", n, n - 0.5) for n in (1, 2, 3)]
    assert server.run(run.uid).exit_code == 1


def change_key(server):
    server.key = server.key[::-1]


@pytest.mark.parametrize(
    ("fail", "heal", "told"),
    [
        (change_key, change_key, "rejected the credentials"),
        (lambda s: s.refused.add("file_stream"), lambda s: s.refused.clear(), "has 1 of 2 rows"),
    ],
    ids=["rejected key", "service that gave up"],
)
def test_what_the_service_gave_up_comes_again(server, run, tmp_path, fail, heal, told):
    sink = opened(tmp_path)
    retry(lambda: sink.write([metrics(1, step=1, loss=0.5)._replace(run=run)]))
    retry(sink.flush)
    noted = copy.deepcopy(run.memory)
    lost = [metrics(2, step=2, loss=1.5)._replace(run=run), event(3, "params", {"values": {"lr": 0.1}})]
    lost = [each._replace(run=run) for each in lost]
    retry(lambda: sink.write(lost))
    fail(server)

    with pytest.raises(WriteAgain, match=told):
        retry(sink.flush)
    sink.close()
    forget_service()
    heal(server)
    run.memory = noted
    again = opened(tmp_path)
    retry(lambda: again.write([*lost, metrics(4, step=4, loss=3.5)._replace(run=run)]))
    retry(again.flush)

    assert held(server, run) == [("loss", n, n - 0.5) for n in (1, 2, 4)]
    assert server.run(run.uid).config["lr"]["value"] == 0.1


def artifact(folder, run, seq=2):
    path = folder / "model.pt"
    path.write_bytes(b"weights")
    about = {
        "version": 3,
        "checksum": "0" * 64,
        "size": 7,
        "aliases": ["best"],
        "metadata": {"a": 1},
        "uri": None,
    }
    return event(seq, "artifact", {**about, "name": "model.pt", "type": "model", "path": str(path)})._replace(
        run=run
    )


def test_artifact_is_with_the_server_when_it_was_written(server, run, tmp_path):
    sink = opened(tmp_path)

    retry(lambda: sink.write([metrics(1, step=1, loss=0.5)._replace(run=run), artifact(tmp_path, run)]))

    (kept,) = server.artifacts.values()
    assert (kept["name"], kept["files"]["model.pt"], kept["committed"]) == (
        "abababab-model.pt",
        b"weights",
        True,
    )
    retry(sink.flush)
    assert server.unknown == []


def test_artifact_the_server_does_not_take_is_refused_and_its_neighbours_arrive(server, run, tmp_path):
    sink = opened(tmp_path)
    events = [metrics(1, step=1, loss=0.5)._replace(run=run), artifact(tmp_path, run)]
    events.append(metrics(3, step=3, loss=2.5)._replace(run=run))
    server.refused.add("CreateArtifact")

    with pytest.raises(RefusedForGood, match="CreateArtifact is not taken here") as refused:
        retry(lambda: sink.write(events))
    retry(sink.flush)

    assert [each for each, _ in refused.value.refusals] == events[1:2]

    assert held(server, run) == [("loss", 1, 0.5), ("loss", 3, 2.5)]


def test_artifact_of_a_server_that_is_away_waits_for_it(server, run, tmp_path):
    sink = opened(tmp_path)
    retry(lambda: sink.write([metrics(1, step=1, loss=0.5)._replace(run=run)]))
    server.fault = FAILING
    events = [metrics(2, step=2, loss=1.5)._replace(run=run), artifact(tmp_path, run, 3)]

    with pytest.raises(RetryLater):
        sink.write(events)
    server.fault = OK
    retry(lambda: sink.write(events))
    retry(sink.flush)

    assert [kept["committed"] for kept in server.artifacts.values()] == [True]
    assert held(server, run) == [("loss", 1, 0.5), ("loss", 2, 1.5)]


def about(run, folder):
    """Return one event of each kind that the server can refuse while it accepts rows."""
    path = folder / "curve.png"
    path.write_bytes(PNG)
    picture = {"name": "curve", "type": "figure", "path": str(path), "version": 1}
    made = [
        metrics(1, step=1, loss=0.5),
        event(2, "artifact", picture),
        event(3, "params", {"values": {"lr": 0.1}}),
        event(4, "tags", {"add": ["mine"]}),
        event(5, "notes", {"notes": "see below"}),
        metrics(6, step=6, loss=5.5),
    ]
    return [each._replace(run=run) for each in made]


def turn_down(*times):
    """Return a rule that refuses settings and uploads of images at the n-th time, for n in ``times``."""
    seen = Counter()

    def rejects(name, variables):
        settings = name == "UpsertBucket" and "lr" in (variables.get("config") or "")
        what = "settings" if settings else "upload" if "curve" in variables.get("path", "") else None
        seen[what] += 1
        return what is not None and seen[what] in times

    return rejects


def test_what_the_server_turned_down_once_is_sent_once_more(server, run, tmp_path):
    sink = opened(tmp_path)
    server.rejects = turn_down(1)
    retry(lambda: sink.write(about(run, tmp_path)))

    told = retry(sink.flush)

    assert "W&B did not take image curve, notes, parameters, tags: sent once more" in told
    shown = server.run(run.uid)
    assert held(server, run) == [("loss", 1, 0.5), ("loss", 6, 5.5)]
    assert (shown.config["lr"]["value"], shown.tags, shown.notes) == (0.1, ["mine"], "see below")
    (row,) = [row for row in shown.rows() if "curve" in row]
    assert shown.uploads[row["curve"]["path"]] == PNG
    assert server.unknown == []


def test_what_the_server_turns_down_again_is_named_and_rows_are_there(server, run, tmp_path):
    sink = opened(tmp_path)
    server.rejects = turn_down(*range(100))
    events = about(run, tmp_path)
    retry(lambda: sink.write(events))

    with pytest.raises(RefusedForGood) as refused:
        retry(sink.flush)

    assert sorted(each.kind for each, _ in refused.value.refusals) == ["artifact", "notes", "params", "tags"]
    assert "W&B's server does not take it: image curve" in [why for _, why in refused.value.refusals]
    assert held(server, run) == [("loss", 1, 0.5), ("loss", 6, 5.5)]
    retry(lambda: sink.write([metrics(7, step=7, loss=6.5)._replace(run=run)]))
    retry(sink.flush)
    assert held(server, run)[-1] == ("loss", 7, 6.5)


def test_picture_whose_row_is_there_from_before_a_crash_gets_its_file(server, run, tmp_path):
    sink = opened(tmp_path)
    noted = copy.deepcopy(run.memory)
    retry(lambda: sink.write(about(run, tmp_path)[:2]))
    retry(sink.flush)  # the worker dies before it saves that
    sink.close()
    server.run(run.uid).uploads.clear()
    run.memory = noted

    again = opened(tmp_path)
    retry(lambda: again.write(about(run, tmp_path)[:2]))
    retry(again.flush)

    (row,) = [row for row in server.run(run.uid).rows() if "curve" in row]
    assert server.run(run.uid).uploads[row["curve"]["path"]] == PNG


def test_run_that_was_deleted_there_is_held_back_and_the_others_arrive(server, run, tmp_path):
    other = RunInfo("cd" * 16, "other", tmp_path / "other_cdcdcdcd", 10**18)
    sink = opened(tmp_path)
    retry(lambda: sink.write([metrics(1, step=1, loss=0.5)._replace(run=run)]))
    server.delete(run.uid)
    events = [metrics(1, step=1, loss=0.5)._replace(run=other), metrics(2, step=2, loss=1.5)._replace(run=run)]

    with pytest.raises(WriteAgain, match="has no run shown_abababab any more"):
        retry(sink.flush)
    sink.close()
    forget_service()
    again = opened(tmp_path)
    with pytest.raises(HoldRun, match="previously created and deleted") as held_back:
        retry(lambda: again.write(events))
    retry(lambda: again.write(events[:1]))
    retry(again.flush)
    assert held_back.value.uid == run.uid
    assert held(server, other) == [("loss", 1, 0.5)]

    server.deleted.clear()
    retry(lambda: again.write(events[1:]))
    retry(again.flush)
    assert held(server, run) == [("loss", 2, 1.5)]
