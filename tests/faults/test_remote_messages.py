"""TCP messages repeated, lost, late or damaged: each event counts once, each artifact is complete."""

import dataclasses
import hashlib
import os

import pytest

from neural.tracking.artifacts.check import Checker
from neural.tracking.artifacts.report import check_artifacts
from neural.tracking.formats import wire
from neural.tracking.reader.run_list import list_runs
from tests.faults.harness import rounds
from tests.faults.outcome import verify
from tests.faults.proxy import MessageProxy
from tests.faults.test_network import Bad
from tests.faults.training import STORED, TRAINING, assert_stored
from tests.patience import LONG, wait_until

LOGS = """
sources = sorted((base_dir.parent / "sources").iterdir())
for path in sources:
    tracker.log_artifact(path)
"""
KEEPING = TRAINING.replace("took, paused, i = [], [], 0\n", LOGS + "took, paused, i = [], [], 0\n")


@pytest.fixture
def sources(own_dir):
    folder = own_dir.parent / "sources"
    (folder / "model" / "deep").mkdir(parents=True)
    (folder / "model" / "deep" / "0").write_bytes(os.urandom((3 << 20) + 17))
    (folder / "model" / "empty").write_bytes(b"")
    (folder / "large").write_bytes(os.urandom(rounds(12, 100) << 20))
    (folder / "small").write_bytes(os.urandom(1000))
    return folder


def through(remote, there, back, uploads):
    """Put a proxy in front of the socket for events, which directs uploads to another proxy."""

    def to_client(message):
        try:
            told = wire.decode(list(message))
        except Exception:  # noqa: BLE001 - whatever it is, it is no pong
            return back(message)
        if isinstance(told, wire.Pong):
            port = int(uploads.endpoint.rpartition(":")[2])
            return [dataclasses.replace(told, uploads=port).encode()]
        return back(message)

    keys = (remote.pair, remote.user)
    return MessageProxy("tcp://127.0.0.1:*", remote.address, to_target=there, to_client=to_client, keys=keys)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("what", ["repeated", "late", "lost", "damaged"] if LONG else ["repeated", "late"])
def test_events_come_once_and_artifacts_whole(keeper, remote, own_dir, sources, rng, what):
    bad = [Bad(what, rng) for _ in range(4)]
    port = remote.status()["remote"]["uploads"]["port"]
    uploads = MessageProxy(
        "tcp://127.0.0.1:*", f"tcp://127.0.0.1:{port}", to_target=bad[2], to_client=bad[3],
        keys=(remote.pair, remote.user),
    )  # fmt: skip
    events = through(remote, bad[0], bad[1], uploads)
    try:
        remote.trust(remote.pair, events.endpoint.removeprefix("tcp://"))
        environment = remote.environment() | {"NTRACK_COLLECTOR": events.endpoint}
        trainer = keeper.trainer(own_dir, KEEPING, environment=environment)
        wait_until(lambda: min(one.done for one in bad) >= rounds(2, 100), what="each way had its bad messages")
        for one in bad:
            one.often = 0.0
        trainer.go()
        trainer.succeed()
        assert trainer.returned(STORED), "finish() did not see everything stored"
    finally:
        events.close()
        uploads.close()

    wait_until(lambda: verify(remote.base_dir) == 0, what="what is on the collector's disk is stored")
    assert_stored(remote.base_dir, trainer.returned())
    (run,) = list_runs(remote.base_dir)
    report = check_artifacts(run.folder, Checker())
    assert (report.whole, report.damages, report.lost, report.waiting) == (3, [], [], [])
    for name in ("large", "small"):
        (entry,) = run.facts.artifacts.versions(name)
        assert entry.checksum == hashlib.sha256((sources / name).read_bytes()).hexdigest()
