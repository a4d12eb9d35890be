"""Every promise of docs/guarantees.md has an id and, under that id, the tests that prove it."""

import re
from pathlib import Path

TEXT = (Path(__file__).parents[3] / "docs" / "guarantees.md").read_text()
PROMISED = re.findall(r"^\| ([A-Z]\d+) \|", TEXT, re.MULTILINE)
PROOFS = re.findall(r"^- \*\*([A-Z]\d+)\.\*\*(.*(?:\n  .*)*)", TEXT, re.MULTILINE)


def test_each_id_is_used_once():
    assert len(PROMISED) > 60
    assert len(set(PROMISED)) == len(PROMISED)


def test_each_promise_has_its_entry_in_the_same_order():
    assert [promise for promise, _ in PROOFS] == PROMISED


def test_each_promise_names_a_test():
    without = [promise for promise, proof in PROOFS if "`tests/" not in proof]

    assert without == []
