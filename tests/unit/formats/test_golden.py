"""Files of the first release remain readable, value by value, and the writer makes the same bytes."""

import importlib.util
import math
import re
from pathlib import Path

import pytest

from neural.tracking.formats import event_stream, events, segment
from neural.tracking.formats.events import Gap

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_golden", GOLDEN / "make_golden.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name):
    data = (GOLDEN / name).read_bytes()
    header = segment.read_header(data)
    found = list(
        segment.scan(data, header.uuid, base=header.base - segment.HEADER_BYTES, start=segment.HEADER_BYTES)
    )
    assert all(isinstance(item, segment.Record) for item in found)
    return header, data, found


def test_writer_still_makes_the_golden_bytes(maker):
    assert maker.outbox() == (GOLDEN / "outbox-v1.seg").read_bytes()
    assert maker.log() == (GOLDEN / "log-v1.seg").read_bytes()


def test_golden_outbox_decodes_value_by_value():
    header, data, found = read("outbox-v1.seg")

    decoded = event_stream.decode(memoryview(data)[segment.HEADER_BYTES : found[-1].end], {})

    assert header.base == segment.LAP_BYTES + 4096
    (block,) = decoded.blocks
    assert block.names == ("loss", "größe/π")
    assert block.seq.tolist() == [2, 3]
    assert block.step.tolist() == [10, -11]
    assert block.values.tolist() == [[0.1, math.inf], [-0.0, 5e-324]]
    assert math.copysign(1, block.values[1, 0]) == -1
    assert decoded.gaps == [Gap(4, 6, 1_700_000_000_000_000_003, "outbox_full")]
    assert [(e.seq, e.kind) for e in decoded.events] == [(1, "open"), (7, "end")]


def test_golden_log_decodes_record_by_record():
    _, _, found = read("log-v1.seg")

    assert [item.kind for item in found] == [
        segment.SESSION,
        segment.SCHEMAS,
        segment.MARK,
        segment.BATCH,
        segment.NOTE,
    ]
    session, uid, info = events.unpack_session(found[0].body)
    assert (info, uid) == ({"name": "golden", "rank": 0}, bytes(range(16, 32)))
    assert events.unpack_schemas(session, found[1].body[16:]) == {1: ("loss", "größe/π")}
    assert events.unpack_mark(found[2].body) == (session, 0, None)
    batch = events.unpack_batch(found[3].body)
    assert (batch.session, batch.first, batch.last, batch.base) == (session, 1, 7, 512)
    assert events.unpack_note(found[4].body)[1]["n"] == 7


def test_records_inside_a_batch_validate_by_themselves():
    _, _, found = read("log-v1.seg")
    batch = events.unpack_batch(found[3].body)

    inner = list(segment.scan(batch.payload, batch.session, base=batch.base))

    assert [item.kind for item in inner] == [
        segment.EVENT,
        segment.SCHEMA,
        segment.METRICS,
        segment.METRICS,
        segment.GAP,
        segment.EVENT,
    ]


def test_document_names_the_version_of_the_code():
    text = (ROOT / "docs" / "segment-format.md").read_text()

    assert int(re.search(r"^Format version: (\d+)$", text, re.M).group(1)) == segment.FORMAT_VERSION
