"""docs/run-folder.md describes what the code does."""

from pathlib import Path

from neural.tracking.collector.store import part_set, part_writer
from neural.tracking.formats import ledgers, parts

TEXT = (Path(__file__).parents[4] / "docs" / "run-folder.md").read_text()


def test_document_names_the_format_of_parts_and_ledgers():
    assert parts.FORMAT == ledgers.FORMAT == 1
    assert TEXT.startswith(f"# The run folder, format {parts.FORMAT}\n")


def test_document_names_the_limits():
    for limit in (
        part_writer.OWN_GROUP_ROWS,
        part_writer.MAX_GROUP_ROWS,
        part_set.MAX_MERGED_ROWS,
        part_writer.MAX_STATS,
    ):
        assert f"{limit:,}" in TEXT


def test_document_names_every_column_and_key():
    for word in (*parts.COLUMNS, parts.META_KEY.decode(), parts.STATS_KEY.decode(), parts.CRC_KEY.decode()):
        assert f"`{word}`" in TEXT
