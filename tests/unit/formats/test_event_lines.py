"""Event lines: any content that msgpack can have becomes a line, and can be read."""

import datetime

import msgpack
import pytest

from neural.tracking.formats import event_lines
from neural.tracking.formats.events import Event


@pytest.mark.parametrize(
    "odd", [msgpack.Timestamp(5, 6), msgpack.ExtType(5, b"abc"), datetime.date(2026, 1, 1)]
)
def test_value_json_has_no_type_for_costs_no_line(odd):
    line = event_lines.event_line("ab" * 16, Event(1, 2, None, "text", {"odd": odd, "sound": 7}))

    (found,) = event_lines.scan(line)

    assert found.data["data"]["sound"] == 7
