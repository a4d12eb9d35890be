"""Merged parts: a reader of ``metrics/*.parquet`` finds each row once, also in copies and after kills."""

import os
import shutil

import pyarrow.parquet as pq
import pytest

from neural.tracking.collector.store import run_writer as run_module
from neural.tracking.collector.store.run_writer import RunWriter
from neural.tracking.formats.parts import aside, own_name
from neural.tracking.reader import part_list
from neural.tracking.reader.event_replay import emitted
from neural.tracking.reader.run import Run
from neural.tracking.verify.rebuild import rebuild_run
from neural.tracking.verify.verify import verify_base
from tests.made_runs import Emitter, applied, folder_of, values

BATCHES = 8


@pytest.fixture
def unmerged(log, monkeypatch):
    """Return a run of eight parts and its writer, which has not merged them yet."""
    monkeypatch.setattr(run_module, "TAIL_BYTES", 100)
    emitter = Emitter().open()
    log.add(emitter)
    sink = None
    for i in range(BATCHES):
        log.add(emitter.metrics({"loss": float(i)}))
        sink = applied(log, sink, None if sink is None else sink.position, flush=False)
    (writer,) = sink.writers.values()
    writer.compact()
    writer.flush()
    yield folder_of(log, emitter), writer
    sink.close()


def seen_by_others(folder):
    """Return the values that a tool finds that only knows Parquet."""
    found = (pq.read_table(path).column("value").to_pylist() for path in folder.glob("metrics/*.parquet"))
    return sorted(value for some in found for value in some)


def everything():
    return [float(i) for i in range(BATCHES)]


def merged(writer):
    assert writer.parts.merge({})


def test_replaced_parts_are_out_of_sight_in_the_step_that_replaces_them(unmerged):
    folder, writer = unmerged
    assert len(list(folder.glob("metrics/part-*"))) == BATCHES

    merged(writer)

    assert seen_by_others(folder) == everything()
    assert len(list(folder.glob("metrics/.part-*.replaced"))) == BATCHES
    assert values(Run(folder).metric("loss")) == everything()
    assert len(writer.parts.parts) == 1
    assert not writer.parts.merge({}), "they were merged a second time"


def test_listing_that_misses_parts_because_a_merge_renames_them_is_read_again(unmerged, monkeypatch):
    folder, _ = unmerged
    listdir, listings = os.listdir, []

    def half_of_it_first(path):
        listings.append(sorted(listdir(path)))
        return listings[-1][:4] if len(listings) == 1 else listings[-1]

    monkeypatch.setattr(part_list.os, "listdir", half_of_it_first)

    found = part_list.scan(folder / "metrics", [])

    assert len(found.live) == BATCHES
    assert len(listings) > 2


def test_reader_that_listed_the_old_parts_starts_over(unmerged):
    folder, writer = unmerged
    run = Run(folder)
    assert run.call_count() == BATCHES
    merged(writer)
    writer.parts.sweep(at_once=True)

    assert values(run.metric("loss")) == everything()


def test_delivery_from_the_folder_goes_on_where_it_was_when_parts_are_merged_under_it(unmerged):
    folder, writer = unmerged
    session = next(iter(Run(folder).facts.sessions))
    delivery = emitted(folder, {}, {session: 10**6})
    first = [next(delivery) for _ in range(3)]
    merged(writer)
    writer.parts.sweep(at_once=True)

    numbers = [event.seq for event in [*first, *delivery]]

    assert numbers == list(range(1, BATCHES + 2))


@pytest.mark.parametrize("done", range(BATCHES + 1))
def test_merge_that_was_cut_short_reads_right_and_is_completed_by_the_next_writer(unmerged, done):
    folder, writer = unmerged
    olds = sorted(folder.glob("metrics/part-*"))
    merged(writer)
    for old in olds[done:]:  # as after a kill after that many renames
        os.rename(aside(old), old)

    assert values(Run(folder).metric("loss")) == everything()
    writer.close()
    RunWriter(folder, writer.uid, writer._collector).close()

    assert seen_by_others(folder) == everything()
    assert values(Run(folder).metric("loss")) == everything()
    assert len(os.listdir(folder / "metrics")) == 2  # part and tail


def test_parts_put_aside_count_where_the_power_took_their_replacement(unmerged):
    folder, writer = unmerged
    olds = sorted(folder.glob("metrics/part-*"))
    merged(writer)
    (new,) = folder.glob("metrics/part-*")
    new.unlink()

    assert values(Run(folder).metric("loss")) == everything()
    writer._tail.close()
    again = RunWriter(folder, writer.uid, writer._collector)

    assert sorted(folder.glob("metrics/part-*")) == olds
    merged(again)
    again.close()
    assert seen_by_others(folder) == everything()


@pytest.mark.parametrize("clear", ["verify", "rebuild"])
def test_copy_made_while_parts_were_merged_is_cleared(unmerged, tmp_path, clear):
    folder, writer = unmerged
    olds = tmp_path / "olds"
    shutil.copytree(folder / "metrics", olds)
    merged(writer)
    copy = tmp_path / "copies" / folder.name
    shutil.copytree(folder, copy)
    shutil.copytree(olds, copy / "metrics", dirs_exist_ok=True)
    assert len(seen_by_others(copy)) == 2 * BATCHES

    if clear == "verify":
        (report,) = verify_base(copy.parent).runs
        assert (report.exit_code, len(report.cleared)) == (0, BATCHES)
    else:
        rebuild_run(copy)

    assert seen_by_others(copy) == everything()
    assert values(Run(copy).metric("loss")) == everything()


def test_nothing_is_cleared_where_the_replacement_is_damaged(unmerged, tmp_path):
    folder, writer = unmerged
    olds = tmp_path / "olds"
    shutil.copytree(folder / "metrics", olds)
    merged(writer)
    shutil.copytree(olds, folder / "metrics", dirs_exist_ok=True)
    (new,) = set(folder.glob("metrics/part-*")) - {folder / "metrics" / path.name for path in olds.iterdir()}
    data = bytearray(new.read_bytes())
    data[40] ^= 1
    new.write_bytes(data)

    (report,) = verify_base(folder.parent).runs

    assert (report.exit_code, report.cleared) == (6, [])
    assert len(list(folder.glob("metrics/part-*"))) == BATCHES + 1


def test_nothing_is_cleared_where_another_part_is_damaged(unmerged):
    folder, writer = unmerged
    merged(writer)
    for replaced in folder.glob("metrics/.part-*.replaced"):
        os.rename(replaced, own_name(replaced))  # as in a copy that is made at that moment
    damaged = own_name(replaced).with_name(f"part-{writer.parts.parts[0].collector}-99.parquet")
    damaged.write_bytes(b"PAR1 nonsense PAR1")

    cleared = part_list.clear_replaced(folder / "metrics")

    assert cleared == []
    assert len(list(folder.glob("metrics/part-*"))) == BATCHES + 2


def test_damage_to_a_part_that_counts_no_more_is_none(unmerged):
    folder, writer = unmerged
    old = sorted(folder.glob("metrics/part-*"))[0]
    merged(writer)
    old.write_bytes(b"PAR1 nonsense PAR1")
    damages = []

    found = part_list.scan(folder / "metrics", damages)

    assert (len(found.live), damages) == (1, [])
