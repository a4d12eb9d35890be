"""A flipped bit anywhere in a run folder: every read returns everything, or fails and names the file."""

import random

import pytest

from neural.tracking.collector.store import run_writer as run_module
from neural.tracking.errors import DataDamagedError
from neural.tracking.reader.run import Run
from neural.tracking.verify.verify import verify_run
from tests.faults.harness import rounds
from tests.made_runs import Emitter, applied, folder_of, values

COUNT = 40
TEXTS = ["first text", "second text"]


def made(log, *, compacted):
    emitter = Emitter().open(tags=["t"]).event("params", values={"lr": 0.25}, as_text=[])
    log.add(emitter)
    for i in range(COUNT):
        emitter.metrics({"loss": float(i), "acc": -float(i)})
        if i % 10 == 0:
            log.add(emitter)
    for version in (1, 2, 3):
        emitter.event("artifact", name="m.pt", type="model", how="copy", size=2, versioned=True, aliases=[])
        stored = {
            "version": version,
            "sha256": f"{version:064x}",
            "size": 2,
            "path": f"versions/m.pt/v{version}_m.pt",
        }
        log.add(emitter).note(emitter, "artifact", key=str(emitter.seq), **stored)
    emitter.event("text", name="n", text=TEXTS[0]).gap(2).event("text", name="n", text=TEXTS[1])
    log.add(emitter)
    if compacted:
        log.add(emitter.end()).bye(emitter)
    applied(log).close()
    return folder_of(log, emitter)


def positions(size):
    """Return the bit positions to flip: all of them in the long form."""
    bits = range(8 * size)
    return bits if rounds(0, 1) else sorted(random.sample(bits, min(len(bits), 200)))


READS = {
    "loss": lambda run: values(run.metric("loss")),
    "acc": lambda run: values(run.metric("acc", ranks="all")),
    "best": lambda run: run.best_metric("loss"),
    "names": lambda run: run.metric_names(),
    "calls": lambda run: run.call_count(),
    "history": lambda run: run.metrics_history(),
    "summary": lambda run: run.summary(),
    "stats": lambda run: run.metric_stats(),
    "texts": lambda run: [text["text"] for text in run.texts()],
    "params": lambda run: run.params,
    "metadata": lambda run: run.metadata,
    "gaps": lambda run: run.gaps,
    "artifacts": lambda run: run.facts.artifacts.versions("m.pt"),
    "latest": lambda run: run.facts.artifacts.find("m.pt", "latest"),
}


def served(folder, damaged="raise"):
    """Return the result of each way to read, or its error."""
    found = {}
    for what, read in READS.items():
        try:
            found[what] = read(Run(folder, damaged))
        except DataDamagedError as error:
            found[what] = error
    return found


def check_flips(path, folder, *, told):
    """Flip bits of ``path`` one after the other; ``told``: whether verify must notice every flip."""
    whole = served(folder)
    original = path.read_bytes()
    assert (whole["calls"], len(whole["artifacts"])) == (COUNT, 3)
    assert verify_run(folder).exit_code == 0
    refused = 0
    for bit in positions(len(original)):
        data = bytearray(original)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        found, report = served(folder), verify_run(folder)
        where = f"bit {bit % 8} of byte {bit // 8} in {path.name}"
        refusals = {what: error for what, error in found.items() if isinstance(error, DataDamagedError)}
        assert all(path.name in str(error) for error in refusals.values()), where
        assert {**found, **refusals} == {**whole, **refusals}, where
        if refusals or told(bit // 8):
            assert report.exit_code == 6, where
        if refusals:
            refused += 1
            left = served(folder, "skip")
            assert all(not isinstance(found, DataDamagedError) for found in left.values()), where
    path.write_bytes(original)
    assert verify_run(folder).exit_code == 0
    return refused


@pytest.mark.timeout(1800)
def test_flip_in_the_tail(log):
    folder = made(log, compacted=False)
    (path,) = (folder / "metrics").glob("tail-*.seg")

    assert check_flips(path, folder, told=lambda byte: byte < 64)


@pytest.mark.timeout(1800)
def test_flip_in_a_part(log):
    folder = made(log, compacted=True)
    (path,) = (folder / "metrics").glob("part-*.parquet")

    assert check_flips(path, folder, told=lambda byte: byte >= 4)


@pytest.mark.timeout(1800)
def test_flip_in_the_events_lines(log):
    folder = made(log, compacted=True)
    (path,) = folder.glob("events-*.jsonl")

    assert check_flips(path, folder, told=lambda byte: False)


@pytest.mark.timeout(1800)
def test_flip_in_the_ledger_is_refused(log):
    folder = made(log, compacted=True)
    (path,) = folder.glob("ledger-*.json")

    assert not check_flips(path, folder, told=lambda byte: False)


def test_damage_in_the_tail_becomes_an_exact_gap_when_the_writer_meets_it(log, monkeypatch):
    emitter = Emitter().open()
    sink = applied(log.add(emitter))
    for i in range(5):
        log.add(emitter.metrics({"loss": float(i)}))
    applied(log, sink, sink.position).close()
    (path,) = (folder_of(log, emitter) / "metrics").glob("tail-*.seg")
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    monkeypatch.setattr(run_module, "TAIL_BYTES", 100)

    applied(log.add(emitter.metrics({"loss": 9.0})), start=sink.position).close()

    run = Run(folder_of(log, emitter))
    assert values(run.metric("loss")) == [0.0, 1.0, 2.0, 3.0, 9.0]
    assert run.gaps == {emitter.session.hex(): [(6, 6, "store_damaged")]}
    assert verify_run(run.folder).exit_code == 0


def test_tail_with_a_damaged_header_loses_nothing_to_the_writer(log):
    emitter = Emitter().open().metrics({"loss": 1.0})
    sink = applied(log.add(emitter))
    sink.close()
    (path,) = (folder_of(log, emitter) / "metrics").glob("tail-*.seg")
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)

    applied(log.add(emitter.metrics({"loss": 2.0})), start=sink.position).close()

    run = Run(folder_of(log, emitter))
    assert values(run.metric("loss")) == [1.0, 2.0]
    assert verify_run(run.folder).exit_code == 0


@pytest.mark.parametrize("name", ["ledger-*.json", "events-*.jsonl", "metrics/tail-*.seg"])
def test_file_that_vanished_between_two_workers_is_accounted_for(log, name):
    emitter = Emitter().open().metrics({"loss": 1.0})
    sink = applied(log.add(emitter))
    sink.close()
    (path,) = folder_of(log, emitter).glob(name)
    path.unlink()

    applied(log.add(emitter.metrics({"loss": 2.0})), start=sink.position).close()

    report = verify_run(folder_of(log, emitter))
    assert report.exit_code == 0, report
    assert values(Run(folder_of(log, emitter)).metric("loss"))[-1] == 2.0
