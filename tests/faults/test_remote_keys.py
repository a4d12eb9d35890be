"""A training without a key, or with a wrong or revoked one, is refused with a reason and loses nothing."""

import os
import socket
import stat
import subprocess
import sys

import pytest
import zmq

from neural.tracking.agent import choose_run
from neural.tracking.agent.session_info import hello, info
from neural.tracking.core.config import AgentConfig
from neural.tracking.formats import wire
from neural.tracking.remote import keys
from tests.faults.harness import clean_environment
from tests.faults.outcome import verify, wait_settled
from tests.faults.remote import files_with, finish_stored
from tests.faults.training import TRAINING, assert_stored
from tests.patience import wait_until

LOUD = f"import logging; logging.basicConfig()\n{TRAINING}"


def stored(remote):
    return remote.status()["events_total"]


def test_key_that_is_not_allowed_waits_outside_until_it_is(keeper, remote, own_dir):
    remote.allow()
    trainer = keeper.trainer(own_dir, LOUD, environment=remote.environment())
    public = keys.public_text(remote.user.public)
    wait_until(lambda: f"ntrack keys allow NAME {public}" in trainer.output, what="the trainer says what to do")
    assert [one["key"] for one in remote.status()["remote"]["refused"]] == [public]
    assert stored(remote) == 0

    remote.allow(me=remote.user)

    wait_until(lambda: stored(remote) > 100, what="it is let in")
    assert_stored(remote.base_dir, finish_stored(trainer))
    assert trainer.output.count("does not allow this key") == 1


def test_key_that_is_taken_back_is_out_at_once_and_what_it_missed_comes_later(keeper, remote, own_dir):
    trainer = keeper.trainer(own_dir, LOUD, environment=remote.environment())
    wait_until(lambda: stored(remote) > 100, what="it is connected")

    remote.allow(other=keys.Pair.make())

    wait_until(lambda: "not allowed" in trainer.output, what="the trainer is told")

    def stands_still():
        before = stored(remote)
        trainer.run_for(1.0)
        return stored(remote) == before

    wait_until(stands_still, what="nothing of it is taken any more")  # earlier messages are stored first
    remote.allow(me=remote.user)
    assert_stored(remote.base_dir, finish_stored(trainer))


def test_collector_with_another_key_than_the_trusted_gets_nothing(keeper, remote, own_dir):
    remote.trust(keys.Pair.make())

    trainer = keeper.trainer(own_dir, LOUD, environment=remote.environment())

    wait_until(lambda: "ntrack keys trust" in trainer.output, what="the trainer says what to do")
    assert stored(remote) == 0
    remote.trust(remote.pair)
    assert_stored(remote.base_dir, finish_stored(trainer))


@pytest.mark.parametrize("lacks", [keys.CLIENT_SECRET, keys.COLLECTORS])
def test_training_without_a_key_says_which_and_goes_on(keeper, remote, own_dir, lacks):
    missing = remote.user_keys / lacks
    missing.rename(missing.with_suffix(".away"))
    trainer = keeper.trainer(own_dir, LOUD, environment=remote.environment())
    command = "ntrack keys client" if lacks == keys.CLIENT_SECRET else "ntrack keys trust"
    wait_until(lambda: command in trainer.output, what="the trainer says what is missing")

    missing.with_suffix(".away").rename(missing)

    assert_stored(remote.base_dir, finish_stored(trainer))


def test_secret_that_others_can_read_is_not_used(keeper, remote, own_dir):
    secret = remote.user_keys / keys.CLIENT_SECRET
    secret.chmod(0o640)
    trainer = keeper.trainer(own_dir, LOUD, environment=remote.environment())
    wait_until(lambda: f"chmod 600 {secret}" in trainer.output, what="the trainer says what to do")

    secret.chmod(0o600)

    assert_stored(remote.base_dir, finish_stored(trainer))


def test_keys_from_the_environment_need_no_file(keeper, remote, own_dir, tmp_path):
    environment = {
        "NTRACK_COLLECTOR": remote.address,
        "NTRACK_KEYS": str(tmp_path / "no-keys-here"),
        keys.SECRET_VARIABLE: f"sec-{remote.user.secret.hex()}",
        keys.COLLECTOR_VARIABLE: keys.public_text(remote.pair.public),
    }

    trainer = keeper.trainer(own_dir, LOUD, environment=environment)
    trainer.wait_returned(100)

    assert_stored(remote.base_dir, finish_stored(trainer))


def test_secrets_are_nowhere_but_in_their_files(keeper, remote, own_dir):
    trainer = keeper.trainer(own_dir, LOUD, environment=remote.environment())
    wait_until(lambda: stored(remote) > 100, what="it is connected")
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, check=False).stdout
    assert_stored(remote.base_dir, finish_stored(trainer))

    for pair, own in (
        (remote.pair, remote.state.keys / keys.COLLECTOR_SECRET),
        (remote.user, remote.user_keys / keys.CLIENT_SECRET),
    ):
        for form in (pair.secret, pair.secret.hex().encode()):
            assert form not in lines
            for folder in (remote.base_dir, own_dir, remote.user_keys):
                assert [path for path in files_with(folder, form) if path != own] == []
        assert stat.S_IMODE(own.stat().st_mode) == 0o600
        assert stat.S_IMODE(own.parent.stat().st_mode) == 0o700
        assert pair.secret.hex() not in repr(pair)


def test_list_of_allowed_keys_that_cannot_be_read_lets_nobody_in(keeper, remote, own_dir):
    (remote.state.keys / keys.ALLOWED).write_text(f"me {keys.public_text(remote.user.public)}\nnonsense\n")

    trainer = keeper.trainer(own_dir, LOUD, environment=remote.environment())

    wait_until(lambda: "keys allow" in trainer.output, what="it is refused")
    assert "nobody is let in" in remote.log.read_text()
    remote.allow(me=remote.user)
    assert_stored(remote.base_dir, finish_stored(trainer))


def test_collector_that_is_to_listen_refuses_to_start_without_a_key(tmp_path):
    command = [sys.executable, "-P", "-m", "neural.tracking.cli", "collector"]
    for how in ("run", "start"):
        arguments = [how, "--listen", "tcp://127.0.0.1:0", "--base-dir", str(tmp_path)]
        environment = clean_environment()
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, env=environment, check=False
        )

        assert done.returncode == 1
        assert "ntrack keys collector" in done.stderr


def knock(remote, talk):
    """Connect as an attacker without a key."""
    host, _, port = remote.address.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), 60) as one:
        one.settimeout(0.2)
        try:
            talk(one)
            while one.recv(4096):
                pass
        except OSError:
            pass


def test_port_scans_and_random_bytes_disturb_nobody(keeper, remote, own_dir, rng):
    here = keeper.trainer(remote.base_dir, TRAINING, environment={"NAME": "here"})
    far = keeper.trainer(own_dir, TRAINING, environment=remote.environment())
    wait_until(lambda: len(remote.status()["sessions"]) == 2, what="both are connected")
    collector = remote.collector.process()
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE".ljust(22, b"\0") + bytes(32)
    sayings = [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(500),
        b"\xff" + bytes(8) + b"\x7f\x03\x00NULL".ljust(54, b"\0"),
        greeting,
        greeting + b"\x04\xc8\x05HELLO" + rng.randbytes(300),
        greeting + b"\x06" + b"\xff" * 8 + rng.randbytes(5000),
        *(rng.randbytes(rng.randrange(1, 100_000)) for _ in range(10)),
    ]

    for saying in sayings:
        knock(remote, lambda one, saying=saying: one.sendall(saying))
    idle = [socket.create_connection(remote.address.removeprefix("tcp://").rsplit(":", 1)) for _ in range(50)]

    finish_stored(here)
    finish_stored(far)
    for one in idle:
        one.close()
    assert remote.collector.process() == collector
    assert collector.memory_info().rss < 200 << 20
    sessions = wait_settled(remote.base_dir)
    assert [(s.gaps, s.missing, s.doubled) for s in sessions] == [([], [], [])] * 2
    assert verify(remote.base_dir) == 0


@pytest.fixture
def insider(remote):
    """Return a connection with an allowed key that can send any message."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as one:
        one.linger = 0
        one.curve_serverkey = zmq.utils.z85.encode(remote.pair.public)
        one.curve_publickey = zmq.utils.z85.encode(remote.user.public)
        one.curve_secretkey = zmq.utils.z85.encode(remote.user.secret)
        one.rcvtimeo = 120_000
        one.connect(remote.address)
        yield one


def test_session_of_the_collectors_own_host_is_not_taken_from_elsewhere(keeper, remote, insider):
    here = keeper.trainer(remote.base_dir, TRAINING)
    (session,) = wait_until(lambda: remote.status()["sessions"])
    theirs, uid = bytes.fromhex(session["session"]), bytes.fromhex(session["uid"])

    for message in (
        wire.Bye(session=theirs, n=0),
        wire.GapNotice(session=theirs, first=1, last=10**9, reason="mine"),
        wire.Hello(protocol=wire.PROTOCOL, version="", session=theirs, uid=uid, info={
            "name": session["name"], "dir": f"{session['name']}_{uid.hex()[:8]}"
        }),
    ):  # fmt: skip
        insider.send_multipart(message.encode())
        answer = wire.decode(insider.recv_multipart())
        assert isinstance(answer, wire.Refuse)
        assert answer.code == "not_allowed"

    assert_stored(remote.base_dir, finish_stored(here))


def test_session_of_another_host_cannot_pass_for_one_of_this(remote, insider, tmp_path):
    run = choose_run("guise", {})
    described = info(run, tmp_path, AgentConfig(), 1, {}) | {"via": "someone else", "pid": os.getpid()}

    insider.send_multipart(hello(run, b"s" * 16, described).encode())

    assert isinstance(wire.decode(insider.recv_multipart()), wire.Welcome)
    (session,) = remote.status()["sessions"]
    assert session["via"] == "me"
