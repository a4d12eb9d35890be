"""A run with a damaged part, line or tail: no interface silently returns fewer or older values."""

import hashlib
import json
import os
import shutil

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from neural.tracking import DataDamagedError, ExperimentManager
from neural.tracking.cli import main
from neural.tracking.collector.artifacts import pruning
from neural.tracking.formats.parts import COLUMNS
from neural.tracking.reader import json_views
from neural.tracking.reader.run import Run
from neural.tracking.verify.rebuild import rebuild_run
from neural.tracking.verify.verify import verify_run
from tests.made_runs import Emitter, Log, applied, folder_of, values

POINTS = 20


class Base:
    """A ``base_dir`` with two runs: ``hurt``, which has two parts and gets damaged, and ``whole``."""

    def __init__(self, base_dir):
        self.base_dir = base_dir
        self.log = Log(base_dir)
        self.hurt, self.whole = Emitter(name="hurt"), Emitter(name="whole")
        sink = None
        for half in (range(POINTS // 2), range(POINTS // 2, POINTS)):
            for emitter in (self.hurt, self.whole):
                if not half.start:
                    emitter.open(tags=["made"]).event("params", values={"lr": 0.1}, as_text=[])
                for step in half:
                    emitter.metrics({"acc": step / POINTS}, step=step)
                if half.start:
                    self.artifacts(emitter)
                self.log.add(emitter)
            sink = applied(self.log, sink, None if sink is None else sink.position)
            for writer in sink.writers.values():
                writer.compact()
            sink.flush()
        for emitter in (self.hurt, self.whole):
            self.log.add(emitter.metrics({"acc": 0.99}, step=POINTS))  # in the tail
        applied(self.log, sink, sink.position).close()
        self.folder = folder_of(self.log, self.hurt)

    def artifacts(self, emitter):
        for version in (1, 2, 3):
            emitter.event("artifact", name="m.pt", how="copy", size=2, versioned=True, aliases=[])
            content, path = b"v%d" % version, f"versions/m.pt/v{version}"
            file = folder_of(self.log, emitter) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            stored = {
                "version": version,
                "sha256": hashlib.sha256(content).hexdigest(),
                "size": len(content),
                "path": path,
            }
            self.log.add(emitter).note(emitter, "artifact", key=str(emitter.seq), **stored)

    def damage(self, what):
        """Damage a file of the run ``hurt``; return its name."""
        path, at = {
            "part": (sorted(self.folder.glob("metrics/part-*"))[-1], -40),
            "tail": (next(self.folder.glob("metrics/tail-*")), -20),
            "lines": (next(self.folder.glob("events-*")), -60),
        }[what]
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)
        return path.name


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("NTRACK_MODE", "offline")  # no command starts a collector that changes the run
    return Base(tmp_path / "runs")


def tracker_of(base, **given):
    return ExperimentManager(base.base_dir).get_experiment(base.hurt.uid.hex()[:8], **given)


def ntrack(base, *arguments):
    done = CliRunner().invoke(
        main, [*map(str, arguments), "--base-dir", str(base.base_dir)], catch_exceptions=False
    )
    return done.exit_code, done.output


POINT_READS = {
    "get_metrics": lambda t: t.get_metrics("acc"),
    "best": lambda t: t.get_best_metric("acc"),
    "history": lambda t: t.metrics_history,
    "summary": lambda t: t.summary,
    "saved": lambda t: t.save_experiment_summary(),
    "plotted": lambda t: t.plot_metrics(),
}
LINE_READS = {
    "parameters": lambda t: t.hyperparameters,
    "tags": lambda t: t.tags,
    "metadata": lambda t: t.metadata,
    "versions": lambda t: t.list_artifact_versions("m.pt"),
    "latest": lambda t: t.get_artifact_version("m.pt", "latest"),
    "artifacts": lambda t: t.artifacts,
    "texts": lambda t: t.get_texts(),
    "status": lambda t: t.status,
}


@pytest.mark.parametrize("what", ["part", "tail", "lines"])
def test_every_read_of_what_is_damaged_raises_and_names_the_file(base, what):
    name = base.damage(what)
    tracker = tracker_of(base)

    for read in (LINE_READS if what == "lines" else POINT_READS).values():
        with pytest.raises(DataDamagedError, match=name):
            read(tracker)


@pytest.mark.parametrize("what", ["part", "tail", "lines"])
def test_what_is_not_concerned_is_read_as_before(base, what):
    before = {name: read(tracker_of(base)) for name, read in {**POINT_READS, **LINE_READS}.items()}
    base.damage(what)
    tracker = tracker_of(base)

    for name, read in ({"get_metrics": POINT_READS["get_metrics"]} if what == "lines" else LINE_READS).items():
        assert str(read(tracker)) == str(before[name])


def test_what_is_left_is_read_when_asked_for(base):
    base.damage("part")
    base.damage("lines")

    tracker = tracker_of(base, damaged="skip")

    assert tracker.get_metrics("acc") == [step / POINTS for step in range(POINTS // 2)] + [0.99]
    assert [version.version for version in tracker.list_artifact_versions("m.pt")] == [1, 2]
    with pytest.raises(ValueError, match="'raise' or 'skip'"):
        tracker_of(base, damaged="ignore")


def test_points_of_which_only_one_metric_is_damaged_are_left_out_when_asked_for(base):
    part = sorted(base.folder.glob("metrics/part-*"))[0]
    data = bytearray(part.read_bytes())
    chunk = pq.ParquetFile(part).metadata.row_group(0).column(COLUMNS.index("value"))
    data[chunk.data_page_offset + 30] ^= 1
    part.write_bytes(data)

    with pytest.raises(DataDamagedError, match=part.name):
        Run(base.folder).metric("acc")
    run = Run(base.folder, "skip")
    assert len(run.metric("acc")) == POINTS // 2 + 1
    assert len(run.metrics_history()) == POINTS // 2 + 1
    assert [damage.partition(":")[0] for damage in run.damages] == [part.name]


@pytest.mark.parametrize("what", ["part", "tail", "lines"])
def test_one_damaged_run_is_marked_in_the_lists_and_the_others_are_as_before(base, what):
    name = base.damage(what)

    whole, hurt = sorted(
        ExperimentManager(base.base_dir).list_experiments(), key=lambda e: e["experiment_name"]
    )[::-1]

    assert (whole["damaged"], whole["summary"]["metrics"]["acc"]["max"]) == (None, 0.99)
    assert name in hurt["damaged"]
    assert (hurt["experiment_id"], "metrics" in hurt["summary"]) == (base.hurt.uid.hex()[:8], False)
    assert hurt["hyperparameters"] == ({} if what == "lines" else {"lr": 0.1})
    assert hurt["status"] == ("damaged" if what == "lines" else "running")
    code, said = ntrack(base, "runs", "ls")
    assert code == 0
    assert name in said
    assert "whole" in said


@pytest.mark.parametrize(
    ("what", "command"),
    [
        ("part", ("metrics", "hurt")),
        ("tail", ("metrics", "hurt", "acc", "--json")),
        ("part", ("runs", "show", "hurt")),
        ("lines", ("runs", "show", "hurt", "--json")),
        ("lines", ("artifacts", "ls", "hurt")),
        ("lines", ("artifacts", "get", "hurt", "m.pt", "latest")),
        ("lines", ("artifacts", "prune", "hurt", "--keep-last", "1", "--yes")),
        ("part", ("runs", "plot", "hurt")),
    ],
)
def test_command_says_in_a_line_which_file_is_damaged_and_exits_6(base, what, command):
    name = base.damage(what)

    code, said = ntrack(base, *command)

    assert code == 6, said
    assert name in said
    assert "ntrack verify" in said
    assert len(said.splitlines()) == 2


def test_verifying_artifacts_does_not_say_that_all_is_well(base):
    shutil.rmtree(folder_of(base.log, base.whole))
    assert ntrack(base, "artifacts", "verify")[0] == 0
    name = base.damage("lines")

    code, said = ntrack(base, "artifacts", "verify")

    assert code == 6, said
    assert name in said


def test_collector_prunes_nothing_of_a_run_whose_lines_are_damaged(base):
    entry = Run(base.folder).facts.artifacts.versions("m.pt")[0]
    base.damage("lines")

    with pytest.raises(ValueError, match="damaged"):
        pruning.select_versions(base.folder, {(entry.session, entry.seq)})


def test_damaged_run_can_be_removed(base):
    base.damage("part")
    base.damage("lines")

    code, said = ntrack(base, "runs", "rm", "hurt", "--yes")

    assert (code, base.folder.exists()) == (0, False), said


@pytest.mark.parametrize("what", ["part", "tail", "lines"])
def test_views_stay_as_they_were_until_they_are_forced(base, what):
    json_views.write_views(base.folder)
    before = {name: (base.folder / f"{name}.json").read_bytes() for name in json_views.NAMES}
    base.damage(what)

    with pytest.raises(DataDamagedError):
        json_views.write_views(base.folder)
    assert {name: (base.folder / f"{name}.json").read_bytes() for name in json_views.NAMES} == before

    rebuild_run(base.folder, force=True)
    assert {name: (base.folder / f"{name}.json").read_bytes() for name in json_views.NAMES} != before


def test_writer_of_a_damaged_run_goes_on_storing_and_so_do_the_others(base):
    base.damage("part")
    for emitter in (base.hurt, base.whole):
        base.log.add(emitter.metrics({"acc": 1.5}, step=50).end()).bye(emitter)

    applied(base.log).close()

    assert values(Run(folder_of(base.log, base.whole)).metric("acc"))[-1] == 1.5
    assert values(Run(base.folder, "skip").metric("acc"))[-1] == 1.5
    summary = json.loads((folder_of(base.log, base.whole) / "summary.json").read_text())
    assert summary["metrics"]["acc"]["max"] == 1.5


def test_comparison_names_the_damaged_run(base):
    name = base.damage("part")
    manager = ExperimentManager(base.base_dir)

    with pytest.raises(DataDamagedError, match=f"{base.folder.name}.*{name}"):
        manager.compare_experiments([base.hurt.uid.hex()[:8], base.whole.uid.hex()[:8]])


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_record_or_line_that_is_being_written_is_no_damage(base, cut):
    before = str(Run(base.folder).metadata), values(Run(base.folder).metric("acc"))
    for pattern in ("metrics/tail-*", "events-*"):
        (path,) = base.folder.glob(pattern)
        data = path.read_bytes()
        path.write_bytes(data + data[-80 : -80 + cut] if "events" in pattern else data + _begun(data, cut))

    run = Run(base.folder)

    assert (str(run.metadata), values(run.metric("acc"))) == before
    assert run.damages == []


def _begun(tail, cut):
    """Return the first bytes of a record, as during an append."""
    from neural.tracking.formats import segment

    record = segment.frame(segment.BATCH, bytes(200), record_seed=segment.seed(tail[16:32], len(tail) - 64))
    return record[:cut]


@pytest.mark.parametrize("pattern", ["metrics/tail-*", "events-*"])
def test_what_was_durable_and_is_cut_off_is_damage(base, pattern):
    (path,) = base.folder.glob(pattern)
    os.truncate(path, path.stat().st_size - 30)

    with pytest.raises(DataDamagedError, match=path.name):
        Run(base.folder).metadata if "events" in pattern else Run(base.folder).metric("acc")
    assert verify_run(base.folder).exit_code == 6


def test_tail_that_is_gone_is_damage(base):
    (tail,) = base.folder.glob("metrics/tail-*")
    tail.unlink()

    with pytest.raises(DataDamagedError, match=f"{tail.name}: is missing"):
        Run(base.folder).metric("acc")
    assert verify_run(base.folder).exit_code == 6
