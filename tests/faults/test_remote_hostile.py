"""Hostile names and values from another host, on both sockets: nothing is written outside its folder."""

import hashlib
from pathlib import Path

import msgpack
import zmq
from click.testing import CliRunner
from zmq.utils import z85

from neural.tracking.cli import main
from neural.tracking.formats import upload_wire, wire
from neural.tracking.reader.run_list import list_runs
from tests.faults.outcome import verify
from tests.hostile_names import HOSTILE_NAMES
from tests.patience import wait_until

ASKS = """
from neural.tracking.agent import choose_run, open_session
from neural.tracking.agent.emit import emitter
from neural.tracking.formats import events
emitter.check_event = events.pack_event_data  # nobody makes a peer check what it sends
from neural.tracking.core.config import agent_config
session = open_session(choose_run("hostile"), base_dir, config=agent_config(base_dir))
def say(number, **told):
    usual = {"name": "x", "type": "artifact", "versioned": True, "aliases": [], "metadata": {}, "size": 7,
             "source": "/x", "spool": "/spool", "token": f"{number:032x}", "how": "copy"}
    session.emit("artifact", {**usual, **told})
"""

# Sends artifact events that no call makes, through a real outbox and sender.
LIES = """
from tests.hostile_names import HOSTILE_NAMES
names = [name.encode("utf-8", "replace").decode() for name in HOSTILE_NAMES]
for number, name in enumerate(names):
    say(number, name=name)
    say(1000 + number, name="x", source=name, spool=name, type=name, aliases=[name], uri=name)
    say(2000, name="x", token=name)
wrong = (None, 7, -1, 1.5, True, b"x", [], [["x"]], {}, {"x": ["y"]}, "x", 2**63)
for number, value in enumerate(wrong):
    for at, key in enumerate(("name", "type", "versioned", "aliases", "metadata", "size", "files", "source",
                              "spool", "token", "how", "stat", "lost", "uri")):
        say(3000 + 100 * number + at, **{"name": f"wrong {key} {number}", key: value})
"""

ENDS = """
say(9999, name="folder", files=3, size=1000)
returned[1] = session.flush(120)
(base_dir.parent / "session").write_text(session.id.hex())
ready()
wait_for_go()
session.close(timeout_s=120)
"""

KEEPS = """
from neural.tracking import ExperimentTracker
source = base_dir.parent / "source"
source.parent.mkdir(parents=True, exist_ok=True)
source.write_bytes(b"whole")
with ExperimentTracker("honest", base_dir) as tracker:
    version = tracker.log_artifact(source)
    returned[1] = version.wait(120) and version.version
"""


def outside(remote):
    """Return all paths outside the collector's folder of runs."""
    return {path for path in remote.base_dir.parent.parent.rglob("*") if remote.base_dir not in path.parents}


def upload_port(remote):
    return remote.status()["remote"]["uploads"]["port"]


def upload(insider, entry):
    """Upload the bytes of an artifact event, as a courier does."""
    who = {"session": bytes.fromhex(entry.session), "token": bytes.fromhex(entry.call["token"])}
    data = b"7" * min(entry.size, 1 << 20)
    digest = hashlib.sha256(data).hexdigest()
    offer = upload_wire.Offer(**who, path="", size=len(data))
    # The event may be in the run's folder before the artifact store has read its job.
    wait_until(lambda: isinstance(ask(insider, offer), upload_wire.At), what="the job is known")
    ask(insider, upload_wire.Chunk(**who, path="", offset=0, crc=upload_wire.crc(data), data=data))
    whole = ask(insider, upload_wire.Check(**who, path="", size=len(data), sha256=digest))
    assert isinstance(whole, upload_wire.Whole)
    assert isinstance(ask(insider, upload_wire.Place(**who, files=0)), upload_wire.Placed)


def ask(insider, message):
    insider.send_multipart(message.encode())
    return upload_wire.decode(insider.recv_multipart())


def connect(context, remote, port):
    one = context.socket(zmq.DEALER)
    one.linger, one.rcvtimeo = 0, 120_000
    one.curve_serverkey = z85.encode(remote.pair.public)
    one.curve_publickey = z85.encode(remote.user.public)
    one.curve_secretkey = z85.encode(remote.user.secret)
    one.connect(f"tcp://127.0.0.1:{port}")
    return one


def start(keeper, remote, own_dir, body):
    """Start the training that sends all this and continues; return it and its session."""
    own_dir.mkdir(parents=True)
    root = str(Path(__file__).parents[2])
    trainer = keeper.trainer(own_dir, body, environment=remote.environment(PYTHONPATH=root))
    trainer.wait_ready()
    assert trainer.returned(1) == 1, "the collector did not take all of it"
    wait_until(lambda: remote.status()["artifacts"]["waiting"], what="there are jobs")
    return trainer, (own_dir.parent / "session").read_text()


def test_hostile_names_and_values_in_events_leave_nothing_outside_and_every_reader_whole(
    keeper, remote, own_dir
):
    trainer, _ = start(keeper, remote, own_dir, ASKS + LIES + ENDS)

    (run,) = list_runs(remote.base_dir)
    artifacts = run.facts.artifacts
    waiting = [e for e in artifacts.waiting() if e.name.startswith("wrong") and "lost" not in e.name]
    waiting = [entry for entry in waiting if entry.size == 7 and not entry.is_folder]

    assert artifacts.names() == []
    assert len(artifacts.lost()) + len(artifacts.waiting()) == len(artifacts.entries) > 700
    assert verify(remote.base_dir) == 3, "some wait for bytes, nothing is damaged"
    with zmq.Context() as context, connect(context, remote, upload_port(remote)) as insider:
        assert len(waiting) > 80
        for entry in waiting:  # uploads the bytes, so that the event becomes a version
            upload(insider, entry)
        wait_until(lambda: remote.status()["artifacts"]["stored_total"] >= len(waiting), what="they are stored")
    assert verify(remote.base_dir) == 3
    done = CliRunner().invoke(main, ["artifacts", "ls", "--base-dir", str(remote.base_dir)])
    assert done.exit_code == 0, done.output
    trainer.go()
    trainer.succeed()
    honest = keeper.trainer(own_dir.parent / "other" / "runs", KEEPS, environment=remote.environment())
    honest.succeed()
    assert honest.returned(1) == 1
    wait_until(lambda: all((run.folder / "artifacts.json").exists() for run in list_runs(remote.base_dir)))


def test_hostile_paths_on_the_upload_socket_stay_in_the_upload_s_own_folder(keeper, remote, own_dir):
    _, session = start(keeper, remote, own_dir, ASKS + ENDS)
    who = {"session": bytes.fromhex(session), "token": bytes.fromhex(f"{9999:032x}")}
    before = outside(remote)
    with zmq.Context() as context:
        insider = connect(context, remote, upload_port(remote))

        for name in HOSTILE_NAMES:
            for path in (name, f"../{name}", f"{name}/../../x", f"/{name}", f"deep/{name}"):
                path = path.encode("utf-8", "replace").decode()[:1000]
                crc = upload_wire.crc(b"y")
                insider.send_multipart(upload_wire.Offer(**who, path=path, size=1).encode())
                insider.send_multipart(
                    upload_wire.Chunk(**who, path=path, offset=0, crc=crc, data=b"y").encode()
                )
                insider.send_multipart(upload_wire.Check(**who, path=path, size=0, sha256="0" * 64).encode())
                insider.send_multipart(upload_wire.Place(**who, files=1).encode())
        insider.send_multipart(upload_wire.Offer(**who, path="the last", size=1).encode())
        while getattr(upload_wire.decode(insider.recv_multipart()), "path", "") != "the last":
            pass
        insider.close()

    growing = remote.state.spool / session / f".tmp-{who['token'].hex()}"
    assert outside(remote) == before
    assert [
        path for path in remote.state.spool.rglob("*") if path.is_file() and growing not in path.parents
    ] == []
    files = [path for path in growing.rglob("*") if path.is_file()]
    assert 0 < len(files) <= 3, "more files than its event says"
    assert not [path for path in remote.base_dir.iterdir() if path.name not in (".ntrack", f"{run_of(remote)}")]


def run_of(remote):
    (run,) = list_runs(remote.base_dir)
    return run.folder.name


def test_messages_whose_texts_are_no_text_are_dropped_on_both_sockets(keeper, remote, own_dir):
    _, session = start(keeper, remote, own_dir, ASKS + ENDS)
    token = bytes.fromhex(f"{9999:032x}")
    with zmq.Context() as context:
        uploads = connect(context, remote, upload_port(remote))
        stream = connect(context, remote, int(remote.address.rpartition(":")[2]))
        for bad in (b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b"..\xc0\xaf..", "x".encode("utf-16")):
            for one, kind, key in ((uploads, "offer", "path"), (stream, "gap", "reason")):
                head = msgpack.packb({"t": kind, "session": bytes.fromhex(session), "token": token, "size": 1,
                                      "first": 1, "last": 10**6, "@": 0})  # fmt: skip
                text = msgpack.packb(key) + bytes([0xD9, len(bad)]) + bad
                head = bytes([head[0] + 1]) + head[1:] + text
                one.send_multipart([upload_wire.crc(head).to_bytes(4, "little") + head])
        stream.send_multipart(wire.Ping(session=b"p" * 16).encode())
        uploads.send_multipart(upload_wire.Offer(
            session=bytes.fromhex(session), token=token, path="good", size=1
        ).encode())  # fmt: skip

        assert isinstance(wire.decode(stream.recv_multipart()), wire.Pong)
        assert upload_wire.decode(uploads.recv_multipart()).path == "good"
        uploads.close()
        stream.close()
