"""The documents describe what the code does, and their links lead to existing headings."""

import re
from pathlib import Path

import pytest

from neural.tracking.formats import wire

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
DOCUMENTS = [*ROOT.glob("*.md"), *DOCS.glob("**/*.md"), ROOT / "neural" / "tracking" / "README.md"]


def anchors(path):
    """Return the anchors that GitHub makes from a document's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_protocol_version_in_the_document_is_the_one_in_the_code():
    told = re.search(r"^Protocol version: (\d+)$", (DOCS / "wire-protocol.md").read_text(), re.MULTILINE)

    assert told is not None, "docs/wire-protocol.md has no line 'Protocol version: <number>'"
    assert int(told[1]) == wire.PROTOCOL


@pytest.mark.parametrize("document", sorted(path.relative_to(ROOT).as_posix() for path in DOCUMENTS))
def test_anchors_of_links_are_headings(document):
    path = ROOT / document
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", path.read_text())

    missing = [
        f"{file}#{anchor}"
        for file, anchor in links
        if anchor not in anchors(path.parent / file if file else path)
    ]

    assert missing == []
