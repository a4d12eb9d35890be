"""The event codec: it returns exact values, and raises only the documented error for anything else."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from neural.tracking.errors import FormatError, PayloadTooLargeError
from neural.tracking.formats import events, segment
from neural.tracking.formats.event_stream import decode
from neural.tracking.formats.events import Gap
from neural.tracking.formats.segment import frame, seed

SESSION = bytes(range(16))


class Stream:
    """Builds a session's stream in a slow, simple way."""

    def __init__(self):
        self.data = b""
        self.seq = 0

    def metrics(self, schema_id, values, *, step=0, time_ns=0):
        self.seq += 1
        body = struct.pack(f"<Qqq{len(values)}d", self.seq, time_ns, step, *values)
        self.data += frame(
            segment.METRICS, body, record_seed=seed(SESSION, len(self.data)), record_id=schema_id
        )

    def event(self, kind, **data):
        self.seq += 1
        self.put(segment.EVENT, events.pack_event(self.seq, 5, None, kind, data))

    def put(self, kind, body):
        self.data += frame(kind, body, record_seed=seed(SESSION, len(self.data)))

    def schema(self, schema_id, *names):
        self.data += events.pack_schema(SESSION, schema_id, names)

    def decoded(self, schemas=None):
        return decode(memoryview(self.data), schemas or {})


def rows(decoded):
    found = []
    for block in decoded.blocks:
        for seq, step, values in zip(block.seq, block.step, block.values, strict=True):
            found.append((int(seq), int(step), dict(zip(block.names, values.tolist(), strict=True))))
    return sorted(found, key=lambda row: row[0])


def test_long_run_of_equal_records_keeps_every_value():
    stream = Stream()
    stream.schema(1, "loss", "acc")
    for i in range(20_000):
        stream.metrics(1, (i / 3, -i), step=i, time_ns=i * 7)

    (block,) = stream.decoded().blocks

    assert block.names == ("loss", "acc")
    assert np.array_equal(block.seq, np.arange(1, 20_001))
    assert np.array_equal(block.time_ns, np.arange(20_000) * 7)
    assert np.array_equal(block.values[:, 0], np.arange(20_000) / 3)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.floats(width=64), st.integers(-(2**62), 2**62)),
        min_size=1,
        max_size=200,
    )
)
def test_any_mixture_of_schemas_comes_back_exactly(calls):
    stream = Stream()
    schemas = {i: tuple(f"m{j}" for j in range(i)) for i in range(1, 5)}
    for schema_id, value, step in calls:
        stream.metrics(schema_id, (value,) * schema_id, step=step)

    found = rows(stream.decoded(schemas))

    assert [row[1] for row in found] == [step for _, _, step in calls]
    for (_, _, got), (schema_id, value, _) in zip(found, calls, strict=True):
        assert list(got) == list(schemas[schema_id])
        assert all(struct.pack("<d", g) == struct.pack("<d", value) or g != g for g in got.values())


def test_events_gaps_and_metrics_stand_side_by_side():
    stream = Stream()
    stream.event("open", name="run")
    stream.schema(1, "loss")
    stream.metrics(1, (0.5,))
    stream.put(segment.GAP, events.pack_gap(Gap(3, 9, 11, "outbox_full")))
    stream.seq = 9
    stream.event("end", status="completed")

    decoded = stream.decoded()

    assert [(e.seq, e.kind, e.data) for e in decoded.events] == [
        (1, "open", {"name": "run"}),
        (10, "end", {"status": "completed"}),
    ]
    assert decoded.gaps == [Gap(3, 9, 11, "outbox_full")]
    assert rows(decoded) == [(2, 0, {"loss": 0.5})]


def test_metrics_that_carry_their_names_become_a_block():
    stream = Stream()
    stream.event("metrics", names=["sample_1"], values=[2.5])

    assert rows(stream.decoded()) == [(1, events.NO_STEP, {"sample_1": 2.5})]


def test_metrics_of_a_schema_nobody_sent_are_an_error():
    stream = Stream()
    stream.metrics(7, (1.0,))

    with pytest.raises(FormatError, match="schema 7"):
        stream.decoded()


def test_event_over_the_limit_is_refused_with_both_sizes():
    with pytest.raises(PayloadTooLargeError, match="262144 bytes") as caught:
        events.pack_event(1, 0, None, "text", {"text": "x" * 300_000})

    assert caught.value.size_bytes > 300_000


@settings(max_examples=500)
@given(st.binary(max_size=400))
@example(b"\xff" * 64)
@example(struct.pack("<IIHHI", 0, 16, segment.EVENT, 0, 0))
@example(struct.pack("<IIHHIQqq", 0, 41, segment.EVENT, 0, 0, 1, 1, 1) + b"\xc1" * 8)
def test_random_bytes_raise_only_the_documented_error(data):
    for decoder in (
        lambda: decode(memoryview(data), {}),
        lambda: events.unpack_event(data),
        lambda: events.unpack_gap(data),
        lambda: events.unpack_names(data),
        lambda: events.unpack_schemas(SESSION, data),
        lambda: events.unpack_batch(memoryview(data)),
        lambda: events.unpack_session(data),
        lambda: events.unpack_mark(data),
        lambda: events.unpack_note(data),
    ):
        with contextlib.suppress(FormatError):
            decoder()


@pytest.mark.parametrize("depth", [33, 500, 100_000])
def test_deeply_nested_map_is_refused(depth):
    packed = b"\x81\xa1a" * depth + b"\xc0"

    with pytest.raises(FormatError):
        events.unpack_map(packed)
