"""A sender's messages, the resulting log, and the answers that the sender gets."""

import dataclasses
import os
import random

import msgpack
import pytest

from neural.tracking.formats import events, wire
from neural.tracking.state.tombstones import Late, Tombstones
from tests.integration.collector.peer import LogContent
from tests.patience import wait_until


@pytest.fixture
def peer(start_collector, make_peer):
    start_collector()
    made = make_peer()
    assert made.hello().last == 0
    return made


def log_of(peer):
    return LogContent(peer.state.log)


def test_batch_is_in_the_log_when_it_is_acknowledged(peer):
    ack = peer.ask(peer.batch(100))

    assert (ack.type, ack.last) == ("ack", 100)
    assert log_of(peer).numbers[peer.session] == list(range(1, 101))


def test_schema_is_in_the_log_before_its_batch(peer):
    peer.ask(peer.batch(1))

    assert log_of(peer).schemas[peer.session] == {1}


def test_repeated_batch_counts_once(peer):
    batch = peer.batch(10)
    peer.ask(batch)

    again = peer.ask(batch)

    assert (again.type, again.last) == ("ack", 10)
    assert log_of(peer).numbers[peer.session] == list(range(1, 11))


def test_batch_ahead_of_the_mark_is_answered_by_where_to_go_on(peer):
    first, second, third = peer.batch(5), peer.batch(5), peer.batch(5)
    peer.ask(first)

    answer = peer.ask(third)

    assert (answer.type, answer.last) == ("welcome", 5)
    peer.ask(second)
    assert peer.ask(third).last == 15
    assert log_of(peer).numbers[peer.session] == list(range(1, 16))


def test_straddling_batch_is_not_stored(peer):
    peer.ask(peer.batch(5))
    peer.seq, peer.offset = 3, 0

    answer = peer.ask(peer.batch(5))

    assert (answer.type, answer.last) == ("welcome", 5)
    assert log_of(peer).numbers[peer.session] == [1, 2, 3, 4, 5]


def test_random_order_with_repeats_ends_exactly_once(peer):
    batches = [peer.batch(7) for _ in range(30)]
    dice = random.Random(4)
    durable = 0
    while durable < 210:
        answer = peer.ask(dice.choice([b for b in batches if b.first <= durable + 22]))
        durable = max(durable, answer.last)

    assert log_of(peer).numbers[peer.session] == list(range(1, 211))


def test_batch_damaged_on_the_way_is_not_stored(peer):
    batch = peer.batch(5)
    head, schemas, payload = batch.encode()

    answer = peer.ask([head, schemas, payload[:-1] + bytes([payload[-1] ^ 1])])

    assert (answer.type, answer.last) == ("welcome", 0)
    assert log_of(peer).numbers[peer.session] == []


def test_gap_moves_the_mark_and_keeps_its_reason(peer):
    peer.ask(peer.batch(3))

    ack = peer.ask(wire.GapNotice(session=peer.session, first=4, last=9, reason="log_lost"))

    assert (ack.type, ack.last) == ("ack", 9)
    (note,) = log_of(peer).notes_of(peer.session, "gap")
    assert (note["first"], note["last"], note["reason"]) == (4, 9, "log_lost")


def test_bye_before_all_is_here_is_answered_by_where_to_go_on(peer):
    peer.ask(peer.batch(3))

    assert peer.ask(wire.Bye(session=peer.session, n=4)).type == "welcome"
    assert log_of(peer).notes_of(peer.session, "bye") == []


def test_bye_is_in_the_log_when_it_is_acknowledged_and_may_be_repeated(peer):
    peer.ask(peer.batch(3))

    assert peer.bye().type == "bye_ack"
    assert peer.bye().type == "bye_ack"
    (note,) = log_of(peer).notes_of(peer.session, "bye")
    assert note["n"] == 3


def test_batch_after_the_end_is_refused(peer):
    peer.ask(peer.batch(3))
    peer.bye()

    assert peer.ask(peer.batch(1)).code == "bad_data"


def test_session_goes_on_over_a_new_connection(peer):
    peer.ask(peer.batch(3))
    peer.connect()

    assert peer.ask(peer.batch(3)).last == 6


def test_session_that_never_said_hello_is_told_to(start_collector, make_peer):
    start_collector()
    stranger = make_peer()

    assert stranger.ask(stranger.batch(1)).code == "unknown_session"


def test_other_protocol_is_refused_by_name(start_collector, make_peer):
    start_collector()
    peer = make_peer()

    answer = peer.ask(peer.hello_message(protocol=99))

    assert answer.code == "protocol"
    assert "99" in answer.reason


@pytest.mark.parametrize("pack", [wire.pack_head, msgpack.packb], ids=["our head", "no checksum"])
def test_hello_of_a_protocol_whose_form_is_unknown_is_refused_too(start_collector, make_peer, pack):
    start_collector()
    peer = make_peer()

    answer = peer.ask([pack({"t": "hello", "protocol": "2.0", "who": "?"})])

    assert answer.code == "protocol"


@pytest.mark.parametrize("folder", ["../run", "/etc", "run_00000000", "", "run"])
def test_hello_for_a_foreign_folder_is_refused(start_collector, make_peer, folder):
    start_collector()
    peer = make_peer()

    answer = peer.ask(peer.hello_message(info={**peer.info(), "dir": folder}))

    assert answer.code == "bad_hello"


def test_session_cannot_change_its_run(peer, make_peer):
    thief = make_peer(session=peer.session)

    assert thief.hello().code == "bad_uid"


def test_deleted_run_is_refused(peer):
    wait_until(lambda: peer.ask(peer.batch(1)).type == "ack")
    peer.state.tombstones.mkdir(parents=True, exist_ok=True)
    (peer.state.tombstones / peer.uid.hex()).touch()

    assert peer.hello().code == "run_deleted"
    assert peer.ask(peer.batch(1)).code == "run_deleted"
    late = Tombstones(peer.state.tombstones).late()
    assert late == {peer.uid: {peer.session.hex(): Late(1)}}  # more events may follow: its process still runs


def test_session_opened_after_the_removal_is_welcome(peer, make_peer):
    Tombstones(peer.state.tombstones).add(peer.uid)
    later = make_peer()
    later.uid = peer.uid
    info = {**later.info(), "after": Tombstones(peer.state.tombstones).newest(peer.uid)}

    assert later.ask(later.hello_message(info=info)).type == "welcome"
    assert peer.hello().code == "run_deleted"


def test_window_is_shared_between_sessions(peer, make_peer):
    assert peer.hello().window == 8 << 20
    others = [make_peer() for _ in range(15)]
    for other in others:
        other.hello()

    assert peer.hello().window == 4 << 20


def hostile_messages(peer, dice):
    good = peer.batch(2)
    head, schemas, payload = good.encode()
    yield []
    yield [b""]
    yield [b"\xc1"]
    yield [b"\x81" * 60_000]
    yield [wire.pack_head({"t": "data"})]
    yield [wire.pack_head({"t": ["data"]})]
    yield [wire.pack_head({"t": "visible", "session": peer.session, "token": 1})]
    yield [wire.pack_head([1, 2, 3])]
    yield [head]
    yield [head, schemas, payload, b"more"]
    yield [head, b"x" * 900, payload]
    yield [head, schemas, bytes((1 << 20) + 8)]
    for field, value in [
        ("first", 0), ("first", -1), ("last", 2**64 - 1), ("last", 0), ("first", 1.5), ("session", "text"),
        ("session", b"short"), ("base", 7), ("base", 2**32 - 8), ("crc", None), ("first", True),
    ]:  # fmt: skip
        yield [wire.pack_head({**wire.unpack_head(head), field: value}), schemas, payload]
    for content in (b"", b"1234567", bytes(64)):
        crc = {"crc": wire.data_crc(schemas, content)}
        yield [wire.pack_head({**wire.unpack_head(head), **crc}), schemas, content]
    yield wire.Barrier(session=peer.session, seq=2**62, token=1).encode()
    yield wire.Bye(session=peer.session, n=2**62).encode()
    yield wire.GapNotice(session=peer.session, first=9, last=2, reason="x").encode()
    yield [wire.pack_head({"t": "hello", "protocol": 1, "version": "0", "session": peer.session,
                          "uid": peer.uid, "info": {"name": 3}})]  # fmt: skip
    for _ in range(300):
        yield [dice.randbytes(dice.randrange(0, 200)) for _ in range(dice.randrange(1, 5))]
    for _ in range(300):
        spoiled = bytearray(head)
        spoiled[dice.randrange(len(spoiled))] = dice.randrange(256)
        yield [bytes(spoiled), schemas, payload]


def test_hostile_peer_never_harms_the_others(start_collector, make_peer):
    collector = start_collector()
    good, bad = make_peer(), make_peer()
    good.hello()
    bad.hello()

    for parts in hostile_messages(bad, random.Random(7)):
        if parts:
            bad.send(parts)
    bad.send([b"x" * (32 << 20)])  # over MAXMSGSIZE: ZeroMQ drops the connection

    assert good.ask(good.batch(10)).last == 10
    assert collector.process.poll() is None
    content = LogContent(good.state.log)
    assert content.numbers[good.session] == list(range(1, 11))
    assert content.damages == []


def test_bytes_that_are_no_zeromq_at_all_are_ignored(start_collector, make_peer):
    import socket

    collector = start_collector()
    for path in (collector.state.data_socket, collector.state.control_socket):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(path))
            raw.sendall(os.urandom(100_000))
    good = make_peer()

    assert good.hello().type == "welcome"
    assert collector.answers()


def test_too_many_schemas_are_refused(peer):
    schemas = b"".join(events.pack_schema(peer.session, i, ("x",)) for i in range(1, 4098))
    batch = peer.batch(1)

    crc = wire.data_crc(schemas, batch.payload)
    answer = peer.ask(dataclasses.replace(batch, schemas=schemas, crc=crc))

    assert answer.code == "bad_data"
