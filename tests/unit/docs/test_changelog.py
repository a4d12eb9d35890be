"""Changelog entries are short, and their file names have the form that a release expects."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LONGEST = 120
FILES = sorted(path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md")


def unfit(name, text):
    """Return what is wrong with an entry, or nothing."""
    if not re.fullmatch(r"[a-z0-9-]+\.(added|changed|fixed|removed)\.md", name):
        return "the name is not <slug>.<added|changed|fixed|removed>.md"
    sentence = text.removesuffix("\n")
    if not sentence.strip() or "\n" in sentence:
        return "the entry is not one line"
    if len(sentence) > LONGEST:
        return f"the entry has {len(sentence)} characters, over {LONGEST}"
    return "" if sentence.endswith(".") else "the entry is not a sentence"


def test_entries_waiting_for_a_release_are_one_short_sentence_each():
    wrong = {path.name: what for path in FILES if (what := unfit(path.name, path.read_text()))}

    assert wrong == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sorting.added.md", "x" * 120 + "."),
        ("sorting.added.md", "One line.\nAnother line.\n"),
        ("sorting.added.md", "no sentence\n"),
        ("sorting.added.md", "\n"),
        ("sorting.improved.md", "A sentence.\n"),
        ("sorting.md", "A sentence.\n"),
    ],
)
def test_unfit_entry_is_found(name, text):
    assert unfit(name, text)


def test_entries_of_a_release_are_short():
    entries = re.findall(r"^- (.*(?:\n  .*)*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert entries
    assert [entry for entry in entries if len(entry) > LONGEST or not entry.endswith(".")] == []
