"""The collector together with the store: barriers, deletion, idle exit."""

import json

import psutil

from neural.tracking.formats import wire
from neural.tracking.state.control_client import request
from tests.integration.collector.peer import LogContent
from tests.patience import PATIENCE_S, wait_until


def visible(peer, token, timeout_s=PATIENCE_S):
    """Wait for the answer to a barrier, and ignore acknowledgements."""
    while (answer := peer.hear(timeout_s)) is not None:
        if isinstance(answer, wire.Visible):
            return answer.token == token
    return False


def begin(peer, folder):
    peer.hello()
    folder.mkdir()
    about = {"format": 1, "uid": peer.uid.hex(), "name": peer.name, "opened_ns": 1, "key": "random"}
    (folder / "run.json").write_text(json.dumps(about))


def test_barrier_is_answered_once_the_run_folder_has_it(start_collector, make_peer, tmp_path):
    start_collector()
    peer = make_peer()
    folder = tmp_path / "runs" / peer.info()["dir"]
    begin(peer, folder)
    peer.ask(peer.batch(100))

    peer.send(wire.Barrier(session=peer.session, seq=100, token=7))

    assert visible(peer, 7)
    assert list((folder / "metrics").iterdir())


def test_barrier_sent_before_its_data_waits_for_it(start_collector, make_peer, tmp_path):
    start_collector()
    peer = make_peer()
    begin(peer, tmp_path / "runs" / peer.info()["dir"])
    peer.send(wire.Barrier(session=peer.session, seq=10, token=1))
    assert not visible(peer, 1, timeout_s=0.5)

    peer.send(peer.batch(10))

    assert visible(peer, 1)


def test_sync_waits_for_the_store(start_collector, make_peer, tmp_path):
    collector = start_collector()
    peer = make_peer()
    begin(peer, tmp_path / "runs" / peer.info()["dir"])
    peer.ask(peer.batch(10))

    assert request(collector.state, "sync", timeout_s=120)["applied"]


def test_deleted_run_is_gone_and_stays_gone(start_collector, make_peer, tmp_path):
    collector = start_collector()
    peer = make_peer()
    folder = tmp_path / "runs" / peer.info()["dir"]
    begin(peer, folder)
    peer.ask(peer.batch(10))
    peer.send(wire.Barrier(session=peer.session, seq=10, token=1))
    assert visible(peer, 1)

    answer = request(collector.state, "delete", uid=peer.uid, timeout_s=120)

    assert answer["ok"] and answer["removed"]
    assert not folder.exists()
    assert peer.hear().code == "run_deleted"
    assert peer.ask(peer.batch(1)).code == "run_deleted"
    assert not request(collector.state, "delete", uid=peer.uid, timeout_s=120)["removed"]
    assert not folder.exists()


def test_wrong_requests_get_an_error_not_a_crash(start_collector):
    collector = start_collector()

    for cmd, fields in (("dance", {}), ("delete", {}), ("delete", {"uid": "text"}), ("delete", {"uid": b""})):
        answer = request(collector.state, cmd, timeout_s=120, **fields)
        assert answer["ok"] is False and answer["error"]
    assert collector.answers()


def test_store_dies_and_comes_back(start_collector, make_peer, tmp_path):
    collector = start_collector()
    peer = make_peer()
    begin(peer, tmp_path / "runs" / peer.info()["dir"])
    for round_number in range(1, 4):
        peer.ask(peer.batch(50))
        peer.send(wire.Barrier(session=peer.session, seq=peer.seq, token=round_number))
        assert visible(peer, round_number)
        worker = collector.status()["workers"][0]
        psutil.Process(worker["pid"]).kill()

    assert wait_until(lambda: collector.status()["workers"][0]["restarts"] == 3)


def test_collector_with_a_finished_run_leaves_when_idle(start_collector, make_peer, tmp_path):
    collector = start_collector("--auto", "--idle-exit-s", "2", ready=False)
    peer = make_peer()  # it waits for the collector, which otherwise might leave before the first message
    begin(peer, tmp_path / "runs" / peer.info()["dir"])
    peer.ask(peer.batch(50))
    peer.bye()

    assert collector.process.wait(120) == 0
    assert not collector.state.collector_runs()
    assert LogContent(collector.state.log).notes_of(bytes(16), "sealed")


def test_worker_gives_way_to_the_training(start_collector, make_peer, tmp_path):
    collector = start_collector()
    peer = make_peer()
    begin(peer, tmp_path / "runs" / peer.info()["dir"])
    peer.ask(peer.batch(10))
    request(collector.state, "sync", timeout_s=120)

    store = psutil.Process(collector.status()["workers"][0]["pid"])

    assert store.nice() > psutil.Process(collector.pid).nice()
