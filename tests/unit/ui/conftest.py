"""Runs that the store writes, and the page's catalogue of them."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from neural.tracking.formats.parts import COLUMNS
from neural.tracking.ui.data.catalogue import Catalogue
from tests.made_runs import SECOND, Emitter, Log, applied, folder_of


class Runs:
    """A ``base_dir`` to which a test adds runs."""

    def __init__(self, base_dir):
        self.base_dir = base_dir
        self.log = Log(base_dir)
        self.sink = None

    def add(self, name="exp", points=20, *, end="completed", params=None, metric=None, later_s=0, **given):
        """Write a run, and return its emitter; ``metric`` gives the values of ``loss``."""
        emitter = Emitter(name=name, **given)
        emitter.info["opened_ns"] += later_s * SECOND
        emitter.open(tags=["made"], settings={"backend": []})
        emitter.event("params", values=params or {"lr": 0.1}, as_text=[])
        for step in range(points):
            emitter.metrics({"loss": 1 / (step + 1) if metric is None else metric(step)}, step=step)
        if end:
            emitter.end(end)
        self.write(emitter)
        return emitter

    def write(self, *emitters):
        for emitter in emitters:
            self.log.add(emitter)
        position = None if self.sink is None else self.sink.position
        self.sink = applied(self.log, self.sink, position)

    def compact(self):
        for writer in self.sink.writers.values():
            writer.compact()
        self.sink.flush()

    def damage_values(self, emitter):
        """Flip bits of the values in the only part of a run."""
        (path,) = (self.folder(emitter) / "metrics").glob("part-*.parquet")
        chunk = pq.ParquetFile(path).metadata.row_group(0).column(COLUMNS.index("value"))
        data = bytearray(path.read_bytes())
        data[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 0xFF
        path.write_bytes(data)

    def damage_footer(self, emitter):
        """Flip a bit in the footer of the newest part of a run; return its name."""
        path = sorted((self.folder(emitter) / "metrics").glob("part-*.parquet"))[-1]
        data = bytearray(path.read_bytes())
        data[-40] ^= 1
        path.write_bytes(data)
        return path.name

    def folder(self, emitter):
        return folder_of(self.log, emitter)


@pytest.fixture
def runs(tmp_path):
    found = Runs(tmp_path / "runs")
    yield found
    if found.sink is not None:
        found.sink.close()


@pytest.fixture
def catalogue(runs):
    return Catalogue(runs.base_dir)


def looked(catalogue):
    """Refresh the catalogue and return its rows by name."""
    catalogue.refresh(at_once=True)
    return {row.name: row for row in catalogue.rows()}
