"""Wire messages: encoded ones are decoded; anything else from a peer is a ProtocolError."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.tracking.errors import ProtocolError
from neural.tracking.formats import wire
from tests.faults.harness import flipped

S, L = bytes(16), bytes(range(16))
EVERY_MESSAGE = [
    wire.Hello(protocol=1, version="0.1.0", session=S, uid=L, info={"name": "run", "rank": 0}),
    wire.Welcome(session=S, log_id=L, last=7, window=8 << 20),
    wire.Refuse(session=S, code="protocol", reason="too new"),
    wire.Data(
        session=S, first=1, last=3, base=0, crc=wire.data_crc(b"xy", b"abc"), schemas=b"xy", payload=b"abc"
    ),
    wire.Ack(session=S, log_id=L, last=3, window=1),
    wire.GapNotice(session=S, first=1, last=2, reason="log_lost"),
    wire.Bye(session=S, n=3),
    wire.ByeAck(session=S, log_id=L),
    wire.Barrier(session=S, seq=3, token=1),
    wire.Visible(session=S, token=1),
]


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda m: m.type)
def test_message_survives_the_round_trip(message):
    assert wire.decode(message.encode()) == message


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda m: m.type)
def test_unknown_keys_are_ignored_for_the_sake_of_newer_peers(message):
    head, *parts = message.encode()
    head = wire.pack_head({**wire.unpack_head(head), "colour": "blue"})

    assert wire.decode([head, *parts]) == message


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda m: m.type)
@pytest.mark.parametrize("wrong", [None, -1, 2**63, 1.5, True, "x" * 2000, b"short", [1], {1: 2}])
def test_wrong_value_in_any_field_is_refused_or_harmless(message, wrong):
    head, *parts = message.encode()
    fields = wire.unpack_head(head)
    for name in fields:
        bad = wire.pack_head({**fields, name: wrong})
        try:
            wire.decode([bad, *parts])
        except ProtocolError:
            continue
        raise AssertionError(f"{message.type}.{name} = {wrong!r} was taken")


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda m: m.type)
def test_flipped_bit_anywhere_is_noticed(message):
    parts = message.encode()
    for index, part in enumerate(parts):
        for bit in range(8 * len(part)):
            damaged = [*parts[:index], flipped(part, bit), *parts[index + 1 :]]
            try:
                found = wire.decode(damaged)
            except ProtocolError:
                continue
            assert isinstance(found, wire.Data)  # its parts have a checksum of their own
            assert wire.data_crc(found.schemas, found.payload) != found.crc


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda m: m.type)
def test_missing_or_surplus_parts_are_refused(message):
    parts = message.encode()

    with pytest.raises(ProtocolError):
        wire.decode([*parts, b""])
    with pytest.raises(ProtocolError):
        wire.decode(parts[:-1])


def test_payload_over_the_limit_is_refused():
    data = wire.Data(
        session=S, first=1, last=1, base=0, crc=0, schemas=b"", payload=bytes(wire.MAX_PAYLOAD_BYTES + 1)
    )

    with pytest.raises(ProtocolError, match="payload"):
        wire.decode(data.encode())


@settings(max_examples=500)
@given(st.lists(st.binary(max_size=100), max_size=4))
def test_random_parts_raise_only_the_documented_error(parts):
    try:
        wire.decode(parts)
    except ProtocolError:
        return
    raise AssertionError("random bytes were taken for a message")
