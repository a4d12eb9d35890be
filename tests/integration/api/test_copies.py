"""A run folder copied beside the original: a command affects only the folder that is named."""

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from neural.tracking import AmbiguousRunError, ExperimentManager, ExperimentTracker
from neural.tracking.cli import main
from neural.tracking.collector import commands
from neural.tracking.reader.run import Run
from neural.tracking.state.paths import State
from neural.tracking.verify.verify import verify_run
from tests.integration.api.conftest import STORED_S
from tests.patience import PATIENCE_S


def ntrack(base, *words):
    """Run a command; return its exit code and its whole output."""
    told = CliRunner().invoke(main, [*map(str, words), "-d", str(base)], env={"COLUMNS": "200"})
    return told.exit_code, told.output


@pytest.fixture
def original(base, tmp_path):
    """Return the folder of a run with 30 points and three versions of an artifact, all stored."""
    with ExperimentTracker("train", base) as tracker:
        for step in range(30):
            tracker.log_metrics({"loss": step}, step=step)
        for number in range(3):
            (tmp_path / "model.pt").write_bytes(b"%d" % number * 1000)
            tracker.log_artifact(tmp_path / "model.pt")
    commands.stop(base, timeout_s=PATIENCE_S)  # no process writes there afterwards
    assert commands.start(base, timeout_s=PATIENCE_S) == 0
    assert ntrack(base, "verify")[0] == 0
    return tracker.experiment_dir


def copied(original, *, linked=False):
    """Return a copy of the run's folder beside the original."""
    copy = original.with_name(f"backup_{original.name}")
    subprocess.run(["cp", "-al" if linked else "-r", original, copy], check=True)
    return copy


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def versions(folder: Path):
    return [entry.version for entry in Run(folder).facts.artifacts.versions("model.pt")]


@pytest.mark.parametrize("running", [True, False], ids=["collector", "no collector"])
def test_removing_the_copy_leaves_the_original_and_its_run_goes_on(base, original, running):
    copy, before = copied(original), content(original)
    if not running:
        commands.stop(base, timeout_s=PATIENCE_S)

    code, told = ntrack(base, "runs", "rm", "-y", copy)

    assert code == 0, told
    assert not copy.exists()
    assert content(original) == before
    again = ExperimentManager(base).get_experiment(original.name[-8:])
    again.log_metrics({"loss": 30.0})
    assert again.finish(timeout=STORED_S)
    assert len(Run(original).metric("loss").value) == 31


def test_removing_the_copy_of_a_live_run_does_not_disturb_it(base):
    with ExperimentTracker("train", base) as tracker:
        tracker.log_metrics({"loss": 1.0})
        assert tracker.flush(STORED_S)
        copy = copied(tracker.experiment_dir)

        assert ntrack(base, "runs", "rm", "-y", copy)[0] == 0

        tracker.log_metrics({"loss": 2.0})
        assert tracker.flush(STORED_S)
    assert Run(tracker.experiment_dir).metric("loss").value.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("running", [True, False], ids=["collector", "no collector"])
def test_removing_the_original_leaves_the_copy(base, original, running):
    copy = copied(original)
    before = content(copy)
    if not running:
        commands.stop(base, timeout_s=PATIENCE_S)

    code, told = ntrack(base, "runs", "rm", "-y", original)

    assert code == 0, told
    assert not original.exists()
    assert content(copy) == before


def test_both_are_removed_where_both_are_named(base, original):
    copy = copied(original)

    assert ntrack(base, "runs", "rm", "-y", original, copy)[0] == 0

    assert not original.exists()
    assert not copy.exists()


def test_link_to_a_run_is_refused_and_its_run_stays(base, original):
    link = base / "link"
    link.symlink_to(original)

    code, told = ntrack(base, "runs", "rm", "-y", link)

    assert code == 1
    assert "link" in told
    assert original.exists()
    assert not State.for_base_dir(base).tombstones.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("runs", "rm", "-y", "{}"), ("runs", "show", "{}"), ("metrics", "{}"), ("artifacts", "ls", "{}"),
        ("artifacts", "prune", "-n", "1", "-y", "{}"), ("verify", "{}"), ("runs", "rebuild", "{}"),
        ("sinks", "replay", "{}", "--to", "jsonl"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("by", ["id", "beginning", "name"])
def test_word_that_means_both_is_refused_with_both_paths(base, original, words, by):
    copy, run_id = copied(original), original.name[-8:]
    before = content(original), content(copy)
    word = {"id": run_id, "beginning": run_id[:5], "name": "train"}[by]

    code, told = ntrack(base, *(part.format(word) for part in words))

    assert code == 1, told
    assert str(original) in told.replace("\n", "")
    assert str(copy) in told.replace("\n", "")
    assert (content(original), content(copy)) == before


def test_manager_refuses_an_id_that_both_bear(base, original):
    copy, run_id = copied(original), original.name[-8:]
    manager = ExperimentManager(base)

    for call in (manager.delete_experiment, manager.get_experiment, manager.compare_experiments):
        with pytest.raises(AmbiguousRunError) as raised:
            call(run_id)
        assert raised.value.folders == [str(copy), str(original)]

    assert original.exists()
    assert copy.exists()


def test_folder_s_own_name_says_which_of_them(base, original):
    copy = copied(original)

    for folder in (original, copy):
        code, told = ntrack(base, "verify", folder.name)
        assert (code, "✓ complete" in told) == (0, True)
    assert ntrack(base, "runs", "show")[0] == 0  # the newest: the run's own folder


@pytest.mark.parametrize("linked", [False, True], ids=["cp -r", "cp -al"])
def test_prune_of_the_copy_takes_its_versions_and_none_of_the_original(base, original, linked):
    copy, before = copied(original, linked=linked), content(original)

    code, told = ntrack(base, "artifacts", "prune", "-n", "1", "-y", copy)

    assert code == 0, told
    assert "removed 2 versions and 0 blobs" in told
    assert (versions(copy), versions(original)) == ([3], [1, 2, 3])
    assert content(original) == before
    assert verify_run(copy).exit_code == verify_run(original).exit_code == 0
    assert ntrack(base, "artifacts", "verify", copy)[0] == 0
    assert ntrack(base, "artifacts", "verify", original)[0] == 0
    assert "removed 0 versions" in ntrack(base, "artifacts", "prune", "-n", "1", "-y", copy)[1]


def test_prune_of_the_original_leaves_the_copy_as_it_is(base, original):
    copy = copied(original)
    before = content(copy)

    assert ntrack(base, "artifacts", "prune", "-n", "1", "-y", original)[0] == 0

    assert (versions(copy), versions(original)) == ([1, 2, 3], [3])
    assert content(copy) == before


def test_prune_of_a_renamed_run_makes_no_second_folder(base, original):
    renamed = original.with_name("renamed")
    original.rename(renamed)

    code, told = ntrack(base, "artifacts", "prune", "-n", "1", "-y", "renamed")

    assert code == 0, told
    assert versions(renamed) == [3]
    assert verify_run(renamed).exit_code == 0
    assert not original.exists()


def test_replay_of_both_at_once_is_refused(base, original):
    copy = copied(original)

    code, told = ntrack(base, "sinks", "replay", original, copy, "--to", "jsonl")

    assert code == 1
    assert "have the same run" in told


def test_copy_that_was_left_when_its_original_went_elsewhere_is_removed_as_a_run(base, original):
    copy = copied(original)
    shutil.move(original, base.parent / "elsewhere")

    assert ExperimentManager(base).delete_experiment(original.name[-8:])

    assert not copy.exists()
