"""The outboxes and sessions of processes that have exited."""

import os
import signal
import subprocess
import sys

import pytest

from neural.tracking.state.control_client import request
from neural.tracking.state.outbox_list import has_orphans
from neural.tracking.state.tombstones import Late, Tombstones
from tests.integration.collector.orphans import damage, leave_outbox
from tests.integration.collector.peer import LogContent
from tests.patience import PATIENCE_S, wait_until


def adopted(peer):
    """Wait until the peer's outbox is removed, and return the content of the log."""
    folder = peer.state.outbox
    wait_until(lambda: not list(folder.iterdir()))
    return LogContent(peer.state.log)


def test_orphan_is_shipped_under_its_own_session_and_deleted(start_collector, make_peer):
    peer = make_peer()
    leave_outbox(peer, 100)
    start_collector()

    content = adopted(peer)

    assert content.numbers[peer.session] == list(range(1, 101))
    assert content.schemas[peer.session] == {1}
    assert content.notes_of(peer.session, "bye")[0]["n"] == 100


def test_session_that_left_no_end_died(start_collector, make_peer):
    peer = make_peer()
    leave_outbox(peer, 3)
    start_collector()

    (note,) = adopted(peer).notes_of(peer.session, "died")

    assert note["key"] == "died"


def test_session_that_left_its_end_did_not_die(start_collector, make_peer):
    peer = make_peer()
    leave_outbox(peer, 3, end=True)
    start_collector()

    content = adopted(peer)

    assert content.notes_of(peer.session, "died") == []
    assert content.notes_of(peer.session, "bye")[0]["n"] == 4


def test_what_the_log_has_already_is_not_doubled(start_collector, make_peer):
    start_collector()
    peer = make_peer()
    peer.hello()
    batch = peer.batch(40)
    peer.ask(batch)
    leave_outbox(peer, 100)

    assert adopted(peer).numbers[peer.session] == list(range(1, 101))


def test_numbers_only_the_control_page_knows_are_a_gap(start_collector, make_peer):
    peer = make_peer()
    leave_outbox(peer, 10, emitted=15)
    start_collector()

    content = adopted(peer)

    (note,) = content.notes_of(peer.session, "gap")
    assert (note["first"], note["last"], note["reason"]) == (11, 15, "damaged")
    assert content.notes_of(peer.session, "bye")[0]["n"] == 15


def test_numbers_lost_with_the_power_say_so(start_collector, make_peer):
    peer = make_peer()
    leave_outbox(peer, 10, emitted=15, boot_id="another-boot")
    start_collector()

    content = adopted(peer)

    (note,) = content.notes_of(peer.session, "gap")
    assert note["reason"] == "host_lost_power"
    (note,) = content.notes_of(peer.session, "died")
    assert note["open_gap"] == "host_lost_power"  # more events may have been emitted than are on the disk


@pytest.mark.parametrize("content", [None, b"", b"{}"], ids=["gone", "empty", "another"])
def test_outbox_that_does_not_tell_whose_it_is_is_known_to_the_log(start_collector, make_peer, content):
    collector, peer = start_collector(), make_peer()
    peer.hello()

    def spoil(folder):
        info = folder / "session.json"
        info.unlink() if content is None else info.write_bytes(content)

    leave_outbox(peer, 10, change=spoil)

    request(collector.state, "adopt", timeout_s=PATIENCE_S)

    assert adopted(peer).numbers[peer.session] == list(range(1, 11))


def test_outbox_the_power_left_only_a_segment_of_is_known_to_the_log(start_collector, make_peer):
    collector, peer = start_collector(), make_peer()
    peer.hello()

    def spoil(folder):
        for name in ("owner.lock", "session.json", "control"):
            (folder / name).unlink()

    leave_outbox(peer, 10, change=spoil)

    request(collector.state, "adopt", timeout_s=PATIENCE_S)

    assert adopted(peer).numbers[peer.session] == list(range(1, 11))


@pytest.mark.parametrize("lost", ["owner.lock", "session.json", "control"])
def test_outbox_the_power_took_a_file_of_waits_for_a_collector(make_peer, lost):
    peer = make_peer()
    (leave_outbox(peer, 10) / lost).unlink()

    assert has_orphans(peer.state)


def test_blank_outbox_that_does_not_tell_whose_it_is_goes(start_collector, make_peer):
    peer = make_peer()
    folder = leave_outbox(peer, 10)
    for path in folder.iterdir():  # as after a power loss before the first sync
        path.write_bytes(b"")

    start_collector()

    wait_until(lambda: not folder.exists())


def test_damaged_event_is_an_exact_gap(start_collector, make_peer):
    peer = make_peer()
    damage(leave_outbox(peer, 10), 4)
    start_collector()

    content = adopted(peer)

    assert content.numbers[peer.session] == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    (note,) = content.notes_of(peer.session, "gap")
    assert (note["first"], note["last"]) == (4, 4)


def test_adoption_goes_on_after_a_kill(start_collector, make_peer):
    peer = make_peer()
    folder = leave_outbox(peer, 100)
    folder.rename(folder.with_name(folder.name + ".adopting"))  # as after a kill of the collector
    start_collector()

    assert adopted(peer).numbers[peer.session] == list(range(1, 101))


def test_outbox_of_a_deleted_run_goes_and_nothing_of_it_is_stored(start_collector, make_peer):
    peer = make_peer()
    leave_outbox(peer, 10)
    peer.state.tombstones.mkdir(parents=True)
    (peer.state.tombstones / peer.uid.hex()).touch()
    start_collector()

    assert adopted(peer).numbers[peer.session] == []
    late = Tombstones(peer.state.tombstones).late()
    assert late == {peer.uid: {peer.session.hex(): Late(10, 0, exact=True)}}


def test_outbox_of_a_removed_run_stays_until_its_gap_is_on_disk(start_collector, make_peer):
    peer = make_peer()
    leave_outbox(peer, 10)
    peer.state.tombstones.mkdir(parents=True)
    (peer.state.tombstones / peer.uid.hex()).touch()
    account = peer.state.tombstones / f"{peer.uid.hex()}-{peer.state.collector_id()}.jsonl"
    account.mkdir()  # nothing can be written there
    collector = start_collector()

    wait_until(lambda: "could not be adopted and stays" in collector.daemon_log())

    assert len(list(peer.state.outbox.iterdir())) == 1


@pytest.mark.parametrize("spoil", ["another host", "session.json", "bottomless"])
def test_outbox_that_cannot_be_taken_stays(start_collector, make_peer, spoil):
    peer = make_peer()
    elsewhere = {"host": "elsewhere", "boot_id": "another-boot"} if spoil == "another host" else {}
    folder = leave_outbox(peer, 10, **elsewhere)
    if spoil == "session.json":
        (folder / "session.json").write_text("{}")
    if spoil == "bottomless":
        (folder / "session.json").write_text('{"session": ' + "[" * 100_000 + "]" * 100_000 + "}")
    collector = start_collector()

    wait_until(lambda: "could not be adopted and stays" in collector.daemon_log())

    assert len(list(peer.state.outbox.iterdir())) == 1


def test_outbox_of_another_container_on_this_host_is_taken(start_collector, make_peer):
    peer = make_peer()
    leave_outbox(peer, 10, host="a-container-long-gone")
    start_collector()

    assert adopted(peer).numbers[peer.session] == list(range(1, 11))


def test_owned_outbox_is_left_alone_until_its_owner_dies(start_collector, make_peer):
    peer = make_peer()
    folder = leave_outbox(peer, 10)
    holding = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX);"
        "print(flush=True); input()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", holding, str(folder / "owner.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with owner:
        owner.stdout.readline()
        collector = start_collector()
        request(collector.state, "adopt", timeout_s=PATIENCE_S)
        with pytest.raises(AssertionError):
            wait_until(lambda: not folder.exists(), 2.5)
        owner.kill()

        wait_until(lambda: not folder.exists())


def test_killed_process_is_noted_with_its_signal(start_collector, make_peer):
    start_collector()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        peer = make_peer(pid=victim.pid)
        peer.hello()
        peer.ask(peer.batch(5))
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        leave_outbox(peer, 5)

        (note,) = adopted(peer).notes_of(peer.session, "died")

    if not kernel_tells_exits():
        pytest.skip("this kernel does not tell how another's child ended (Linux 6.15 does)")
    assert (note["signal"], note["reason"]) == (9, "killed by SIGKILL")


def test_session_whose_process_and_outbox_are_gone_is_closed(start_collector, make_peer):
    start_collector()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        peer = make_peer(pid=victim.pid)
        peer.hello()
        peer.ask(peer.batch(5))
        victim.kill()

    for kind in ("bye", "died"):
        wait_until(lambda kind=kind: LogContent(peer.state.log).notes_of(peer.session, kind))


def kernel_tells_exits():
    release = os.uname()
    if release.sysname != "Linux":
        return False
    major, minor = (int(part) for part in release.release.split(".")[:2])
    return (major, minor) >= (6, 15)


def test_stale_temporary_folder_is_removed_and_a_fresh_one_is_not(start_collector, make_peer):
    peer = make_peer()
    old, new = (peer.state.outbox / f".tmp-{kind}" for kind in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    peer.state.root.chmod(0o700)
    os.utime(old, (1, 1))
    start_collector()

    wait_until(lambda: not old.exists())

    assert new.exists()
