"""Frames: written records can be read, damaged ones never."""

from hypothesis import given, settings
from hypothesis import strategies as st

from neural.tracking.errors import FormatError
from neural.tracking.formats import segment
from neural.tracking.formats.segment import Damage, Header, Record, frame, read_header, scan, seed

STREAM = bytes(range(16))


def records(*bodies, stream=STREAM, base=0):
    data = b""
    for body in bodies:
        data += frame(segment.EVENT, body, record_seed=seed(stream, base + len(data)))
    return data


def bodies(data, stream=STREAM, base=0):
    return [bytes(r.body) for r in scan(data, stream, base=base) if isinstance(r, Record)]


def damages(data, stream=STREAM, base=0):
    return [(d.start, d.end) for d in scan(data, stream, base=base) if isinstance(d, Damage)]


def test_header_survives_the_round_trip():
    header = Header(segment.ROLE_LOG, STREAM, 77, 123)

    assert read_header(header.pack()) == header
    assert len(header.pack()) == segment.HEADER_BYTES


@given(st.integers(0, 63), st.integers(0, 7))
def test_no_flipped_bit_in_a_header_goes_unseen(byte, bit):
    data = bytearray(Header(segment.ROLE_LOG, STREAM, 77, 123).pack())
    data[byte] ^= 1 << bit

    try:
        read_header(data)
    except FormatError:
        return
    raise AssertionError("a damaged header was read")


def test_records_come_back_in_order():
    assert bodies(records(b"a", b"", b"ccccccccc")) == [b"a", b"", b"ccccccccc"]


def test_unwritten_rest_of_a_file_is_no_damage():
    data = records(b"a") + bytes(4096)

    assert bodies(data) == [b"a"]
    assert damages(data) == []


def test_record_at_another_offset_is_not_believed():
    data = records(b"a", b"b", b"c")

    assert bodies(data, base=8) == []


def test_record_of_an_older_lap_is_not_believed():
    data = records(b"a")

    assert bodies(data, base=segment.LAP_BYTES) == []


def test_record_of_another_session_is_not_believed():
    assert bodies(records(b"a"), stream=bytes(16)) == []


def test_torn_last_record_is_one_damaged_stretch():
    data = records(b"first", b"second, and longer than the first")[:-8]

    assert bodies(data) == [b"first"]
    assert damages(data) == [(24, len(data))]


def test_schema_is_valid_wherever_it_is_repeated():
    record = frame(segment.SCHEMA, b"loss", record_seed=segment.schema_seed(STREAM, 3), record_id=3)

    assert bodies(bytes(0) + record, base=4096) == [b"loss"]


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=8), st.data())
def test_flipped_bit_costs_exactly_the_record_it_is_in(contents, data):
    good = records(*contents)
    byte = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[byte] ^= 1 << data.draw(st.integers(0, 7))
    ends, total = [], 0
    for body in contents:
        total += segment.aligned(segment.FRAME_BYTES + len(body))
        ends.append((total, total - segment.aligned(16 + len(body)) + 16 + len(body)))
    hit = next(i for i, (end, _) in enumerate(ends) if byte < end)

    found = bodies(bad)

    # A bit in the padding belongs to no record.
    in_padding = byte >= ends[hit][1]
    assert found == contents if in_padding else found == contents[:hit] + contents[hit + 1 :]


@settings(max_examples=300)
@given(st.binary(max_size=4096))
def test_random_bytes_hold_no_record(data):
    assert bodies(data) == []


@given(st.binary(max_size=200))
def test_random_bytes_are_no_header(data):
    try:
        read_header(data)
    except FormatError:
        return
    raise AssertionError("random bytes were read as a header")
