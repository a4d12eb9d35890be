"""Recovery of an outbox: any damage becomes an exact gap, never a wrong value."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from neural.tracking.agent.emit.outbox import Outbox
from neural.tracking.core import os_support
from neural.tracking.errors import FormatError
from neural.tracking.state import outbox_files as outbox_files
from neural.tracking.state.outbox_files import Orphan, OutboxPiece
from tests.unit.agent.made import account, make_emitter, recover

COUNT = 300


@pytest.fixture
def outbox(tmp_path):
    emitter = make_emitter(tmp_path)
    for i in range(COUNT):
        emitter.emit_metrics({"a": float(i), "b": -float(i)} if i % 5 else {"c": float(i)}, i)
    return emitter.outbox.folder


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def true_events(found):
    return all(content in ({"a": float(s - 1), "b": 1.0 - s}, {"c": float(s - 1)}) for s, _, content in found)


@pytest.mark.parametrize("rng", range(60))
def test_flipped_bit_is_an_exact_gap(outbox, rng):
    used = 64 + COUNT * 56 + 100
    flip(outbox / "00000001.seg", random.Random(rng).randrange(used * 8))

    found, lost = recover(outbox)

    account(found, lost, COUNT)
    assert true_events(found)
    assert len(found) >= COUNT - 2 or not found


@pytest.mark.parametrize("bit", range(0, 128, 3))
def test_flipped_bit_in_the_page_of_numbers_harms_nothing(outbox, bit):
    flip(outbox / "control", bit)

    found, lost = recover(outbox)

    assert (len(found), lost) == (COUNT, [])


def test_damage_at_the_very_end_is_a_known_gap(outbox):
    path = outbox / "00000001.seg"
    data = bytearray(path.read_bytes())
    end = max(i for i, byte in enumerate(data) if byte) + 1
    data[end - 60 : end] = bytes(60)
    path.write_bytes(data)

    found, lost = recover(outbox)

    account(found, lost, COUNT)
    assert lost[-1][1:] == (COUNT, "damaged")


def test_damaged_segment_header_is_worked_out_from_its_records(outbox):
    flip(outbox / "00000001.seg", 8 * 33)

    found, lost = recover(outbox)

    assert (len(found), lost) == (COUNT, [])


@pytest.mark.parametrize("bit", range(0, 1500, 97))
def test_damaged_description_is_refused(outbox, bit):
    data = (outbox / "session.json").read_bytes()
    flip(outbox / "session.json", bit % (len(data) * 8))

    try:
        info = outbox_files.read_info(outbox)
    except FormatError:
        return
    assert info.info["name"] == "run"  # the flipped bit was in white space


def test_torn_description_is_refused(outbox):
    (outbox / "session.json").write_bytes(b"")

    with pytest.raises(FormatError):
        Orphan(outbox)


def test_missing_page_of_numbers_leaves_what_was_seen(outbox):
    (outbox / "control").unlink()

    assert Orphan(outbox).emitted == COUNT


def test_pieces_begin_behind_what_is_known(outbox):
    found, lost = recover(outbox, after=200)

    assert [seq for seq, _, _ in found] == list(range(201, COUNT + 1))
    assert not lost


def test_numbers_before_the_first_one_here_are_lost_if_nobody_has_them(tmp_path):
    emitter = make_emitter(tmp_path)
    for i in range(4000):
        emitter.emit_metrics({f"m{j}": 1.0 for j in range(100)}, i)
    (emitter.outbox.folder / "00000001.seg").unlink()
    first_here = emitter.segment.marks[0][1] + 1

    found, lost = recover(emitter.outbox.folder)

    account(found, lost, 4000)
    assert lost == [(1, first_here - 1, "damaged")]


def test_pieces_are_at_most_a_mebibyte(tmp_path):
    emitter = make_emitter(tmp_path)
    for i in range(9000):
        emitter.emit_metrics({f"m{j}": 1.0 for j in range(100)}, i)

    pieces = list(Orphan(emitter.outbox.folder).pieces())

    assert all(isinstance(piece, OutboxPiece) and len(piece.payload) <= 1 << 20 for piece in pieces)
    assert [piece.first for piece in pieces[1:]] == [piece.last + 1 for piece in pieces[:-1]]


def test_restarted_host_is_named_as_the_reason(outbox):
    session, uid, info = outbox_files.read_info(outbox)
    (outbox / "session.json").write_bytes(outbox_files.pack_info(session, uid, {**info, "boot_id": "before"}))
    (outbox / "00000001.seg").write_bytes(bytes(1 << 20))

    _, lost = recover(outbox)

    assert lost == [(1, COUNT, "host_lost_power")]


@pytest.fixture
def start_owner(tmp_path):
    """Start a process that creates an outbox with three events, then runs the given code."""
    owners = []

    def start(then):
        script = (
            "import os, sys, pathlib\n"
            "from tests.unit.agent.made import make_emitter\n"
            "emitter = make_emitter(pathlib.Path(sys.argv[1]))\n"
            "for i in range(3): emitter.emit_metrics({'m': 1.0})\n"
            "folder = emitter.outbox.folder\n"
        )
        command = [sys.executable, "-c", script + then, str(tmp_path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        owners.append(process)
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in owners:
        process.kill()
        process.communicate()


def test_outbox_of_a_living_owner_cannot_be_claimed(start_owner):
    process, folder = start_owner("print(folder, flush=True); sys.stdin.read()")
    assert outbox_files.claim(folder) is None

    process.kill()
    process.wait()

    assert outbox_files.claim(folder) is not None
    assert recover(folder)[1] == []


def test_forked_child_does_not_hold_the_lock_of_its_dead_parent(start_owner):
    process, folder = start_owner(
        "pid = os.fork()\n"
        "if pid == 0: sys.stdin.read(); os._exit(0)\n"
        "print(folder, flush=True); os.waitpid(pid, 0)"
    )

    process.kill()
    process.wait()

    assert outbox_files.claim(folder) is not None


def test_own_outbox_is_never_claimed_since_that_would_drop_its_lock(tmp_path):
    folder = make_emitter(tmp_path).outbox.folder
    session, uid, info = outbox_files.read_info(folder)
    mine = outbox_files.pack_info(session, uid, {**info, "pid": os.getpid()})
    (folder / "session.json").write_bytes(mine)

    assert outbox_files.claim(folder) is None


OWNER = """
import os, sys
from pathlib import Path
from neural.tracking.core.os_support import boot_id, process_start_ticks
from neural.tracking.agent.emit.outbox import Outbox
info = {"pid": os.getpid(), "start_time": process_start_ticks(os.getpid()), "boot_id": boot_id()}
outbox = Outbox.create(Path(sys.argv[1]), os.urandom(16), os.urandom(16), info, None)
(outbox.folder / "owner.lock").read_bytes()  # drops the lock: what copying the folder comes to
print(outbox.folder, flush=True)
input()
outbox.close([outbox.first], delete=False)
print(flush=True)
input()
"""


@pytest.fixture
def careless_owner(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        yield owner, Path(owner.stdout.readline().strip())
        owner.kill()


def test_outbox_whose_owner_lost_its_lock_is_taken_only_after_it_died(careless_owner):
    owner, folder = careless_owner
    assert outbox_files.claim(folder) is None

    owner.kill()
    os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)  # dead, but not waited for: a zombie

    fd = outbox_files.claim(folder)
    assert fd is not None
    os.close(fd)


def test_outbox_its_living_owner_let_go_of_can_be_taken(careless_owner):
    owner, folder = careless_owner
    owner.stdin.write("\n")
    owner.stdin.flush()
    owner.stdout.readline()

    fd = outbox_files.claim(folder)
    assert fd is not None
    os.close(fd)


def test_outbox_of_an_earlier_process_with_our_id_can_be_taken(tmp_path, monkeypatch):
    info = {"pid": os.getpid(), "start_time": 1, "boot_id": os_support.boot_id()}
    outbox = Outbox.create(tmp_path, os.urandom(16), os.urandom(16), info, None)
    outbox.close([outbox.first], delete=False)

    fd = outbox_files.claim(outbox.folder)

    assert fd is not None
    os.close(fd)
