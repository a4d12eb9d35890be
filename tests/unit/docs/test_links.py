"""What the documents say is what the code does."""

import re
from pathlib import Path

from neural.tracking.formats import wire

DOCS = Path(__file__).parents[3] / "docs"


def test_protocol_version_in_the_document_is_the_one_in_the_code():
    told = re.search(r"^Protocol version: (\d+)$", (DOCS / "wire-protocol.md").read_text(), re.MULTILINE)

    assert told is not None, "docs/wire-protocol.md has no line 'Protocol version: <number>'"
    assert int(told[1]) == wire.PROTOCOL
