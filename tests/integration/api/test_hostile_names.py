"""Hostile names at every interface on this host: stored inside the run, or refused with an error."""

import contextlib
import os

import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from neural.tracking import ExperimentTracker
from neural.tracking.artifacts.check import copy_out
from neural.tracking.cli import main
from neural.tracking.collector.artifacts import pruning
from neural.tracking.errors import ArtifactDamagedError, InvalidNameError
from neural.tracking.reader.run_list import list_runs
from tests.hostile_names import HOSTILE_NAMES
from tests.integration.api.conftest import STORED_S


@pytest.fixture
def kept(base, tmp_path):
    """Return a run, and a file to log."""
    (tmp_path / "x").write_bytes(b"x")
    with ExperimentTracker("keeps", base) as tracker:
        yield tracker


@pytest.fixture
def others(base, tmp_path):
    """Return a function that returns the files beside the folder of runs, with their content."""

    def look():
        beside = [path for path in tmp_path.rglob("*") if path != base and base not in path.parents]
        return {path: path.read_bytes() if path.is_file() else None for path in beside}

    return look


def assert_stored(versions, tracker):
    """Assert that all of these are complete, each directly in the folder of its name's versions."""
    assert tracker.flush(STORED_S)
    root = tracker.experiment_dir.resolve() / "versions"
    assert all(version.verify() for version in versions)
    assert all(version.path.resolve().parent.parent == root for version in versions)


def test_as_names_of_artifacts_models_figures_and_references(kept, tmp_path, others):
    before = others()
    figure = Figure((1, 1), 20)
    calls = (
        lambda name: kept.log_artifact(tmp_path / "x", artifact_name=name),
        lambda name: kept.log_artifact("s3://bucket/x", name, reference=True),
        lambda name: kept.log_model(tmp_path / "x", name=name),
        lambda name: kept.log_figure(figure, name),
    )
    made, refused = [], 0

    for name in HOSTILE_NAMES:
        for call in calls:
            try:
                made.append(call(name))
            except ValueError:
                refused += 1

    assert_stored(made, kept)
    assert len(made) + refused == len(calls) * len(HOSTILE_NAMES) >= 800
    assert refused > 100
    assert others() == before


def test_as_aliases_and_as_what_is_asked_for(kept, tmp_path, others):
    before = others()
    made = [kept.log_artifact(tmp_path / "x", alias="best")]
    assert kept.flush(STORED_S)

    for name in HOSTILE_NAMES:
        with contextlib.suppress(ValueError):
            assert [version.artifact_name for version in kept.list_artifact_versions(name)] in ([], ["x"])
        found = kept.get_artifact_version("x", name)
        assert found is None or found.version == 1
    for name in HOSTILE_NAMES:
        with contextlib.suppress(ValueError):
            made.append(kept.log_artifact(tmp_path / "x", alias=name))

    assert_stored(made, kept)
    assert others() == before


def test_as_paths_of_what_is_not_there(kept, tmp_path, others):
    before = others()

    for name in HOSTILE_NAMES:
        with pytest.raises((OSError, ValueError)):
            kept.log_artifact(artifact_path=f"{tmp_path}/nothing/{name}/nothing", name="y")

    assert kept.flush(STORED_S)
    assert kept.get_artifact_version("y") is None
    assert others() == before


def test_as_members_of_folders(kept, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in HOSTILE_NAMES:
        if "/" not in name and name.strip(".") != "":
            with contextlib.suppress(OSError, ValueError):  # no file can have this name
                (folder / name).write_bytes(name.encode())
    inside = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(inside) > 100

    version = kept.log_artifact(folder)

    assert_stored([version], kept)
    copy = version.copy_to(tmp_path / "copy")
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == inside
    (folder / os.fsdecode(b"\xff\xfe")).write_bytes(b"x")
    with pytest.raises(InvalidNameError, match="is no UTF-8"):
        kept.log_artifact(folder)


def test_on_the_command_line(kept, base, tmp_path, others):
    version = kept.log_artifact(tmp_path / "x")
    assert kept.flush(STORED_S)
    (tmp_path / "out").mkdir()
    before = others()

    def ntrack(*words):
        done = CliRunner().invoke(main, ["artifacts", *words[:-1], "--base-dir", str(base), "--", *words[-1]])
        assert done.exception is None or isinstance(done.exception, SystemExit), (words, done.exception)
        return done.exit_code

    codes = set()
    for name in HOSTILE_NAMES:
        codes.add(ntrack("get", "-o", str(tmp_path / "out"), ["keeps", name]))
        codes.add(ntrack("get", "-o", str(tmp_path / "out"), ["keeps", "x", name]))
        codes |= {ntrack("verify", [name]), ntrack("ls", [name])}
        codes.add(ntrack("prune", "--keep-last", "1", "--yes", [name or "?"]))

    (tmp_path / "out" / "x").unlink()  # "latest" is one of them
    assert codes <= {0, 1, 2}
    assert others() == before
    assert version.verify()


def test_in_a_run_folder_that_came_from_elsewhere(kept, tmp_path, others):
    kept.log_artifact(tmp_path / "x")
    kept.finish()
    (run,) = list_runs(kept.base_dir)
    (entry,) = run.facts.artifacts.versions("x")
    before = others()
    (tmp_path / "out").mkdir()

    for name in HOSTILE_NAMES:
        named = entry._replace(call={**entry.call, "name": name})
        for forged in (
            named,
            entry._replace(outcome={**entry.outcome, "path": name}),
            entry._replace(outcome={**entry.outcome, "path": f"versions/x/../../../../{name}"}),
        ):
            with contextlib.suppress(OSError, ValueError, ArtifactDamagedError):
                copy_out(run.folder, forged, tmp_path / "out")
        if name != "x":
            with contextlib.suppress(OSError, ValueError):
                pruning.remove_versions(run.folder, [named])

    written = others().keys() - before.keys() - {tmp_path / "out"}
    assert all(path.parent == tmp_path / "out" for path in written)
    assert before.items() <= others().items()
    assert (run.folder / entry.path).read_bytes() == b"x"
