"""Collectors and trainings on different hosts: keys for both, and network namespaces as hosts."""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest

from neural.tracking.errors import CollectorUnreachableError
from neural.tracking.remote import keys
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State
from tests.faults.training import STORED, assert_never_delayed
from tests.patience import PATIENCE_S, wait_until
from tests.ports import free_port

NET = "10.93.7"
PORT = 5757


class Remote:
    """A collector that listens to other hosts, with the keys and the environment of a training for it."""

    def __init__(self, keeper, folder, *, listen=None, prefix=()):
        self.base_dir = self.seen = folder / "collector" / "runs"
        self._disk = None
        self.user_keys = folder / "user-keys"
        self.state = State.for_base_dir(self.base_dir)
        self.log = self.state.daemon_log
        # Not an ephemeral port: another process might have it when the collector starts again.
        self._keeper, self._prefix = keeper, prefix
        self._listen = listen or f"tcp://127.0.0.1:{free_port()}"
        self.base_dir.mkdir(parents=True)
        self.state.make()
        self.pair, self.user = keys.Pair.make(), keys.Pair.make()
        keys.write_pair(self.state.keys / keys.COLLECTOR_SECRET, self.pair)
        keys.write_pair(self.user_keys / keys.CLIENT_SECRET, self.user)
        self.collector = keeper.collector_of(self.base_dir)
        self.address = ""
        self.own_environment = {}  # of the collector

    def move_to(self, disk):
        """Use that disk, which is mounted over the collector's folder. Call it before the collector starts."""
        self._disk, self.seen = disk, disk.outside(self.base_dir)
        self.collector = self._keeper.collector_of(self.base_dir, disk)

    def start(self):
        """Start it, each time at the same address, and wait until it answers."""
        where = {"disk": self._disk} if self._disk else {"prefix": self._prefix}
        self._keeper.run_collector(
            self.base_dir, "--listen", self._listen, environment=self.own_environment, **where
        )
        self.collector.wait_ready()
        endpoint = self.collector.state.endpoint_file
        address = wait_until(lambda: json.loads(endpoint.read_text()).get("remote"))
        self.address = self._listen = address
        self.trust(self.pair)
        return self

    def allow(self, **names):
        keys.write_list(self.state.keys / keys.ALLOWED, {name: pair.public for name, pair in names.items()})

    def trust(self, pair, place=None):
        place = place or self.address.removeprefix("tcp://")
        keys.write_list(self.user_keys / keys.COLLECTORS, {place: pair.public})

    def environment(self, **more):
        return {"NTRACK_COLLECTOR": self.address, "NTRACK_KEYS": str(self.user_keys), **more}

    def status(self):
        with contextlib.suppress(CollectorUnreachableError):
            return request(self.state, "status", timeout_s=PATIENCE_S)
        return {"sessions": [], "events_total": 0, "remote": None}


@pytest.fixture
def remote(keeper, tmp_path):
    """Return a running collector that admits the user's key."""
    made = Remote(keeper, tmp_path)
    made.allow(me=made.user)
    return made.start()


@pytest.fixture
def own_dir(tmp_path):
    """Return the base_dir of a training on another host, which has no files of the collector."""
    return tmp_path / "trainer" / "runs"


class Hosts:
    """Network namespaces on one bridge: host 0 is ``NET.1``, and so on."""

    def __init__(self, count):
        self._hub = f"nt{os.getpid()}{secrets.token_hex(2)}"
        self._names = [f"{self._hub}-{number}" for number in range(count)]
        try:
            self._make()
        except BaseException:
            self.remove()
            raise

    def _make(self):
        _ip("netns", "add", self._hub)
        _ip("-n", self._hub, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "br0", "up")
        for number, name in enumerate(self._names):
            _ip("netns", "add", name)
            _ip(
                "-n",
                self._hub,
                "link",
                "add",
                f"p{number}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                name,
            )
            _ip("-n", self._hub, "link", "set", f"p{number}", "master", "br0", "up")
            _ip("-n", name, "addr", "add", f"{NET}.{number + 1}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")

    def prefix(self, number):
        """Return the words before a command that run it on that host."""
        return ("ip", "netns", "exec", self._names[number])

    def cut(self, number):
        """Disconnect that host from the network."""
        _ip("-n", self._hub, "link", "set", f"p{number}", "down")

    def reconnect(self, number):
        _ip("-n", self._hub, "link", "set", f"p{number}", "up")

    def degrade(self, number, *how):
        """Lose, delay, repeat or reorder packets to that host."""
        command = ["tc", "-n", self._hub, "qdisc", "replace", "dev", f"p{number}", "root", "netem", *how]
        subprocess.run(command, check=True, capture_output=True)

    def remove(self):
        for name in (*self._names, self._hub):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _can(*how):
    """Return whether this machine can create such hosts, and degrade their network."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    hosts = None
    try:
        hosts = Hosts(1)
        if how:
            hosts.degrade(0, *how)
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        if hosts is not None:
            hosts.remove()
    return True


_HOSTS = _can()
needs_hosts = pytest.mark.skipif(
    not _HOSTS, reason="needs `ip netns` with veth and bridge, as root: install iproute2"
)
needs_netem = pytest.mark.skipif(
    not (_HOSTS and _can("loss", "1%")), reason="needs `tc` and a kernel with sch_netem, as root"
)


def finish_stored(trainer):
    """End a TRAINING; assert that everything is stored; return the number of steps."""
    trainer.go()
    trainer.succeed()
    assert_never_delayed(trainer)
    assert trainer.returned(STORED), "finish() did not see everything stored"
    return trainer.returned()


def files_with(folder: Path, text: bytes) -> list[Path]:
    """Return the files in a folder, at any depth, that contain a text."""
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]
