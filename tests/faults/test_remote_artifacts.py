"""Artifacts of remote trainings are complete or absent, whatever is cut or killed."""

import hashlib
import os
import shutil
import sys

import psutil
import pytest
import zmq
from zmq.utils import z85

from neural.tracking.artifacts.check import Checker, copy_out, listed
from neural.tracking.artifacts.report import check_artifacts
from neural.tracking.collector.artifacts.uploads import Uploads
from neural.tracking.errors import InvalidNameError
from neural.tracking.formats import artifact_event, upload_wire
from neural.tracking.reader.facts import read_lines
from neural.tracking.reader.run_list import list_runs
from neural.tracking.state import artifact_jobs, spool
from neural.tracking.state.paths import State
from tests.faults.disks import needs_namespaces
from tests.faults.harness import Collector, rounds
from tests.faults.outcome import verify, wait_settled
from tests.faults.remote import NET, PORT, Hosts, Remote, needs_hosts
from tests.faults.training import SLOWEST_NS
from tests.patience import wait_until

MIB = 1 << 20

LOGS = """
import logging, os, pathlib
logging.basicConfig()
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("training", base_dir)
tracker.log_metrics({"half": 0.0}, step=0)
for path in _os.environ["LOG"].split(":"):
    tracker.log_artifact(path)
    returned[0] += 1
"""
ENDS = LOGS + "returned[1] = tracker.finish(timeout=float(os.environ.get('FINISH_S', '120')))\n"
WAITS = LOGS + "ready()\nwait_for_go()\nreturned[1] = tracker.finish(timeout=120)\n"


@pytest.fixture
def sources(tmp_path):
    """Return the paths of files and a folder to log, by name."""
    folder = tmp_path / "sources"
    (folder / "model" / "layers").mkdir(parents=True)
    (folder / "model" / "layers" / "0").write_bytes(os.urandom(2 * MIB + 17))
    (folder / "model" / "empty").write_bytes(b"")
    (folder / "model" / "ünïcode name").write_bytes(b"x")
    (folder / "small").write_bytes(os.urandom(1000))
    (folder / "nothing").write_bytes(b"")
    for path in (folder / "small", folder / "model" / "layers" / "0"):
        path.chmod(0o755)
    (folder / "large").write_bytes(os.urandom(MIB) * 200)
    return {path.name: path for path in folder.iterdir()}


def logged(sources, *names):
    return ":".join(str(sources[name]) for name in names)


def stored(remote):
    """Return the entries of stored artifacts by name."""
    return {e.name: e for run in list_runs(remote.base_dir) for e in run.facts.artifacts.entries if e.stored}


def in_order_stored(remote):
    """Return the artifacts' names in the order in which they were stored."""
    (run,) = list_runs(remote.base_dir)
    return [
        line["data"]["name"] for line in read_lines(run.folder, []) if line.get("note") == artifact_event.KIND
    ]


def assert_complete(remote, sources, *names):
    """Assert that exactly these are stored, with the same bytes, and that the spools are empty."""
    wait_until(lambda: set(stored(remote)) == set(names), what=f"{names} are stored")
    (run,) = list_runs(remote.base_dir)
    report = check_artifacts(run.folder, Checker())
    assert (report.whole, report.damages, report.lost, report.waiting) == (len(names), [], [], [])
    for name, entry in stored(remote).items():
        if sources[name].is_file():
            with sources[name].open("rb") as file:
                assert entry.checksum == hashlib.file_digest(file, "sha256").hexdigest()
    wait_until(lambda: spool.waiting(remote.state.spool) == {}, what="the collector's spool is empty")
    wait_settled(remote.base_dir)
    assert verify(remote.base_dir) == 0


def courier(own_dir):
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "neural.tracking.agent.courier.courier" in words and str(own_dir) in words:
            return process
    return None


def test_files_and_folders_arrive_whole_and_finish_says_so(keeper, remote, own_dir, sources):
    names = ("small", "model", "nothing")
    trainer = keeper.trainer(own_dir, ENDS, environment=remote.environment(LOG=logged(sources, *names)))

    trainer.succeed()

    assert trainer.returned(1) == 1, "finish() did not see everything stored"
    assert_complete(remote, sources, *names)
    model = stored(remote)["model"]
    (run,) = list_runs(remote.base_dir)
    assert (run.folder / model.path / "ünïcode name").read_bytes() == b"x"
    assert [item.path for item in listed(run.folder, model) if item.executable] == ["layers/0"]
    copy = copy_out(run.folder, stored(remote)["small"], own_dir.parent / "copy")
    assert os.access(copy, os.X_OK)
    assert spool.waiting(State.for_base_dir(own_dir).remote_spool) == {}


def test_training_killed_right_after_the_call_has_its_artifact_stored(keeper, remote, own_dir, sources):
    trainer = keeper.trainer(own_dir, WAITS, environment=remote.environment(LOG=logged(sources, "small")))
    trainer.wait_ready()
    wait_until(lambda: courier(own_dir))

    trainer.kill()

    assert_complete(remote, sources, "small")


def test_small_artifact_does_not_wait_for_a_large_one(keeper, remote, own_dir, sources):
    names = ("large", "small")
    trainer = keeper.trainer(own_dir, WAITS, environment=remote.environment(LOG=logged(sources, *names)))
    trainer.wait_ready()

    trainer.go()
    trainer.succeed()

    assert_complete(remote, sources, *names)
    assert in_order_stored(remote) == ["small", "large"]


def test_version_and_checksum_come_back_to_the_training(keeper, remote, own_dir, sources):
    body = LOGS.replace("tracker.log_artifact(path)", "version = tracker.log_artifact(path)") + (
        "assert version.wait(120)\n"
        "pathlib.Path(path + '.told').write_text(f'{version.version} {version.checksum} {version.path}')\n"
        "try: version.verify()\n"
        "except Exception as error: pathlib.Path(path + '.verified').write_text(repr(error))\n"
        "returned[1] = tracker.finish(timeout=120)\n"
    )
    twice = logged(sources, "small", "small")

    keeper.trainer(own_dir, body, environment=remote.environment(LOG=twice)).succeed()

    digest = hashlib.sha256(sources["small"].read_bytes()).hexdigest()
    assert sources["small"].with_name("small.told").read_text() == f"2 {digest} None"
    told = sources["small"].with_name("small.verified").read_text()
    assert told.startswith("TrackingError(")  # not damaged: its bytes are not on this host
    assert "on another host" in told


@needs_hosts
@pytest.mark.timeout(1800)
def test_upload_cut_and_killed_on_both_sides_goes_on_where_it_was(keeper, tmp_path, own_dir, sources, rng):
    hosts = Hosts(2)
    try:
        listen = f"tcp://{NET}.1:{PORT}"
        remote = Remote(keeper, tmp_path, listen=listen, prefix=hosts.prefix(0))
        remote.allow(me=remote.user)
        remote.start()
        environment = remote.environment(LOG=logged(sources, "large", "model"))
        trainer = keeper.trainer(own_dir, WAITS, environment=environment, prefix=hosts.prefix(1))
        trainer.wait_ready()
        received = sent_again = 0
        for number in range(rounds(4, 100)):
            before = received_bytes(remote)
            wait_until(lambda before=before: received_bytes(remote) > before or "large" in stored(remote))
            trainer.run_for(rng.uniform(0.0, 0.3))
            if number % 3 == 0 and (one := courier(own_dir)):
                Collector.end(one)
            elif number % 3 == 1:
                received += received_bytes(remote)
                remote.collector.kill()
                remote.start()
                sent_again += 1
            else:
                hosts.cut(1)
                trainer.run_for(rng.uniform(0.0, 1.0))
                hosts.reconnect(1)
        trainer.go()
        trainer.succeed()
        assert_complete(remote, sources, "large", "model")
        size = sum(path.stat().st_size for path in (sources["large"], *sources["model"].rglob("*")))
        assert received + received_bytes(remote) < size + (sent_again + 1) * 16 * MIB, "it began anew"
    finally:
        hosts.remove()


def received_bytes(remote):
    uploads = (remote.status().get("remote") or {}).get("uploads") or {}
    return uploads.get("received_bytes_total", 0)


def test_artifact_nobody_could_take_is_shipped_on_request(keeper, remote, own_dir, sources):
    remote.collector.kill()
    environment = remote.environment(LOG=logged(sources, "small"), NTRACK_MODE="offline", FINISH_S="0")
    keeper.trainer(own_dir, ENDS, environment=environment).succeed()
    remote.start()
    command = [sys.executable, "-P", "-m", "neural.tracking.cli", "outbox", "ship", "--base-dir", own_dir]

    done = keeper.start(command, environment=remote.environment())

    assert done.wait(120) == 0, keeper.output(done)
    assert_complete(remote, sources, "small")


KEEPS_ON = """
import logging, time
logging.basicConfig()
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("training", base_dir)
(base_dir.parent / "big").write_bytes(bytes(24 << 20))
(base_dir.parent / "small").write_bytes(b"small")
for number in range(5):
    tracker.log_artifact(base_dir.parent / "big", f"big-{number}")
small = tracker.log_artifact(base_dir.parent / "small")
returned[2] = small.wait(120) and small.version
slowest = longest = 0
while not go_requested():
    began = time.perf_counter_ns()
    tracker.log_metrics({"half": 0.0})
    slowest = max(slowest, time.perf_counter_ns() - began)
    returned[0] += 1
    began = time.perf_counter_ns()
    time.sleep(0.001)
    longest = max(longest, time.perf_counter_ns() - began)
returned[3], returned[4] = slowest, longest
returned[1] = tracker.finish(timeout=120)
"""


@needs_namespaces
def test_collector_without_room_takes_what_fits_and_the_rest_once_there_is_room(keeper, tmp_path, own_dir):
    remote = Remote(keeper, tmp_path)
    remote.allow(me=remote.user)
    disk = keeper.small_disk(remote.base_dir, 256 * MIB)
    shutil.copytree(remote.base_dir, disk.outside(), dirs_exist_ok=True)
    remote.move_to(disk)
    remote.start()
    ballast = disk.fill(leave_bytes=34 * MIB)  # of which 13 are the reserve

    trainer = keeper.trainer(own_dir, KEEPS_ON, environment=remote.environment())
    wait_until(lambda: trainer.returned(2), what="the small one is stored")
    trainer.wait_returned(200)

    (run,) = list_runs(remote.seen)
    assert run.facts.artifacts.names() == ["small"]
    assert len(run.facts.artifacts.waiting()) == 5
    assert "of them are reserved" in State.for_base_dir(remote.seen).daemon_log.read_text()
    ballast.unlink()
    trainer.go()
    trainer.succeed()
    assert trainer.returned(3) < SLOWEST_NS + 5 * trainer.returned(4)  # which the pauses show
    assert trainer.returned(1) == 1, "finish() did not see everything stored"
    wait_until(lambda: len(list_runs(remote.seen)[0].facts.artifacts.names()) == 6, what="all are stored")
    assert verify(remote.base_dir, disk) == 0


LIES = """
import socket
from pathlib import Path
from neural.tracking.agent import choose_run, open_session
from neural.tracking.core.config import agent_config
session = open_session(choose_run("lies"), base_dir, config=agent_config(base_dir))
secret = Path(_os.environ["SECRET"])
found = secret.stat()
stat = [found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns]
common = {"type": "artifact", "versioned": True, "aliases": [], "metadata": {}, "size": found.st_size,
          "source": str(secret), "stat": stat, "spool": _os.environ["SPOOL"]}
for number, how in enumerate(("in place", "copy", "move")):
    token = "ab" * 15 + f"{number:02x}"
    session.emit("artifact", {**common, "name": f"stolen-{number}", "token": token, "how": how})
for number, name in enumerate(("../up", "/abs", "a/b", "nul\\0", "", "..", "x" * 5000)):
    session.emit("artifact", {**common, "name": name, "token": "cd" * 15 + f"{number:02x}", "how": "in place"})
returned[1] = session.flush(120)
ready()
wait_for_go()
session.close(timeout_s=120)
"""


def test_paths_and_names_that_another_host_lies_about_are_neither_read_nor_written(
    keeper, remote, own_dir, tmp_path
):
    secret = tmp_path / "secret"
    secret.write_text("of the collector's host")
    environment = remote.environment(SECRET=str(secret), SPOOL=str(remote.state.spool))
    trainer = keeper.trainer(own_dir, LIES, environment=environment)
    trainer.wait_ready()

    wait_until(lambda: remote.status()["artifacts"]["waiting"] == 3, what="the jobs wait for bytes")
    trainer.run_for(2.0)

    assert stored(remote) == {}
    content = secret.read_bytes()
    found = [path for path in remote.base_dir.rglob("*") if path.is_file() and path.read_bytes() == content]
    assert found == []
    trainer.go()
    trainer.succeed()


@pytest.fixture
def insider(remote):
    """Return an allowed client on the socket for artifacts that can send any message."""
    port = remote.status()["remote"]["uploads"]["port"]
    with zmq.Context() as context, context.socket(zmq.DEALER) as one:
        one.linger = 0
        one.curve_serverkey = z85.encode(remote.pair.public)
        one.curve_publickey = z85.encode(remote.user.public)
        one.curve_secretkey = z85.encode(remote.user.secret)
        one.rcvtimeo = 120_000
        one.connect(f"tcp://127.0.0.1:{port}")
        yield one


def test_bytes_that_no_event_asks_for_are_not_taken(remote, insider):
    who = {"session": b"s" * 16, "token": b"t" * 16}

    for message in (
        upload_wire.Offer(**who, path="", size=10),
        upload_wire.Chunk(**who, path="../../x", offset=0, crc=0, data=b"y" * 100),
        upload_wire.Check(**who, path="/etc/passwd", size=1, sha256="0"),
        upload_wire.Place(**who, files=0),
    ):
        insider.send_multipart(message.encode())
        assert isinstance(upload_wire.decode(insider.recv_multipart()), upload_wire.Unwanted)

    assert not remote.state.spool.exists()


HOSTILE = [
    "..", "../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/.", "a/", "/", "", "a\0b", "x" * 256,
    "é" * 200, "/".join("a" * 65), *(f"{'../' * n}etc/passwd" for n in range(1, 60)),
]  # fmt: skip


@pytest.mark.parametrize("relative", HOSTILE, ids=range(len(HOSTILE)))
def test_file_of_a_folder_stays_inside_it(tmp_path, relative):
    job = artifact_jobs.make(bytes(16), "run_00000000", "ab" * 16, 1, 1, {"via": "me"}, {
        "name": "folder", "token": "cd" * 16, "how": "copy", "size": 10, "files": 2
    })  # fmt: skip
    uploads = Uploads(None, State(base_dir=tmp_path, root=tmp_path), None, None, None, "")

    with pytest.raises(InvalidNameError):
        uploads._path(job, relative)


def test_upload_cannot_grow_beyond_what_its_event_says(tmp_path):
    job = artifact_jobs.make(bytes(16), "run_00000000", "ab" * 16, 1, 1, {"via": "me"}, {
        "name": "folder", "token": "cd" * 16, "how": "copy", "size": 10, "files": 2
    })  # fmt: skip
    uploads = Uploads(None, State(base_dir=tmp_path, root=tmp_path / "state"), None, None, None, "")
    (tmp_path / "state").mkdir()

    def put(name, offset, data):
        chunk = upload_wire.Chunk(
            session=b"", token=b"", path=name, offset=offset, crc=upload_wire.crc(data), data=data
        )
        return uploads._write(job, uploads._path(job, name), chunk)

    assert put("a", 0, b"12345") == 5
    assert put("a", 0, b"54321") == 5, "a repeated chunk counts once"
    assert put("a", 7, b"8") == 5, "one that came too early is not taken"
    assert put("b", 0, b"123456") == 0
    assert put("b", 0, b"12345") == 5
    assert put("c", 0, b"1") == 0
