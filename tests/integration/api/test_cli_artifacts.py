"""``ntrack artifacts``, called like a user does."""

import json
import os

import pytest
from click.testing import CliRunner

from neural.tracking import ExperimentManager, ExperimentTracker
from neural.tracking.cli import main
from neural.tracking.state.paths import State
from tests.integration.api.conftest import STORED_S
from tests.patience import wait_until


def ntrack(base, *words):
    """Run a command; return its exit code and its whole output."""
    done = CliRunner().invoke(main, [*words, "--base-dir", str(base)], env={"COLUMNS": "160"})
    return done.exit_code, done.output


@pytest.fixture
def run(base, tmp_path):
    """Return a run with four versions of a file, one of them the best, and a folder."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "a").write_bytes(b"a" * 3000)
    with ExperimentTracker("keeps", base) as tracker:
        for number in range(1, 5):
            (tmp_path / "model.pt").write_bytes(b"%d" % number * 100_000)
            tracker.log_artifact(tmp_path / "model.pt", alias="best" if number == 2 else ())
        tracker.log_artifact(folder)
        assert tracker.flush(STORED_S)
    return tracker


def blobs_of(base):
    return sorted(path for path in State.for_base_dir(base).blobs.rglob("*") if path.is_file())


def flip(path):
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"\xff")


def test_ls_shows_versions_with_their_aliases(base, run):
    code, text = ntrack(base, "artifacts", "ls")
    _, plain = ntrack(base, "artifacts", "ls", run.experiment_id, "--name", "model.pt", "--json")

    assert code == 0
    places = [text.index(word) for word in ("v4", "v3", "v2", "v1")]
    assert places == sorted(places)
    assert all(word in text for word in ("latest", "best", "97.7 KiB", "1 file"))
    versions = json.loads(plain)["model.pt"]["versions"]
    assert [version["aliases"] for version in versions] == [[], ["best"], [], ["latest"]]


def test_get_copies_what_was_logged(base, run, tmp_path):
    code, text = ntrack(base, "artifacts", "get", "keeps", "model.pt", "best", "-o", str(tmp_path / "out"))
    folder_code, _ = ntrack(
        base, "artifacts", "get", run.experiment_id, "weights", "--to", str(tmp_path / "folder")
    )

    assert (code, folder_code) == (0, 0)
    assert text == f"copied model.pt v2 to {tmp_path / 'out'}\n"  # no bar where nobody looks
    assert (tmp_path / "out").read_bytes() == b"2" * 100_000
    assert (tmp_path / "folder" / "a").read_bytes() == b"a" * 3000


@pytest.mark.parametrize("wanted", [["nothing"], ["model.pt", "v9"], ["model.pt", "worst"]])
def test_get_of_what_is_not_there_says_what_is(base, run, wanted):
    code, text = ntrack(base, "artifacts", "get", "keeps", *wanted)

    assert code == 1
    assert "its artifacts: " in text or "its versions: " in text


def test_damage_is_refused_with_both_digests_and_exit_6(base, run, tmp_path):
    version = run.get_artifact_version("model.pt", 3)
    flip(version.path)
    flip(run.experiment_dir / "versions" / "weights" / "v1_weights" / "a")
    os.unlink(run.experiment_dir / "versions" / "model.pt" / "v1_model.pt")

    got, told = ntrack(base, "artifacts", "get", "keeps", "model.pt", "3", "-o", str(tmp_path / "out"))
    checked, listed = ntrack(base, "artifacts", "verify")
    whole, _ = ntrack(base, "verify")
    as_json, plain = ntrack(base, "artifacts", "verify", "--json")

    assert (got, checked, whole, as_json) == (6, 6, 6, 6)
    assert version.checksum in told
    assert "found" in told
    assert not (tmp_path / "out").exists()
    assert all(word in listed for word in ("model.pt v3", "weights v1/a", "model.pt v1", "it is missing"))
    assert len(json.loads(plain)["runs"][0]["damages"]) == 3


def test_prune_keeps_the_newest_and_the_aliased_and_frees_the_rest(base, run):
    before = len(blobs_of(base))
    dry_code, told = ntrack(base, "artifacts", "prune", "--keep-last", "1", "--dry-run")
    unchanged = len(blobs_of(base))

    code, done = ntrack(base, "artifacts", "prune", "--keep-last", "1", "--yes")

    assert (dry_code, unchanged) == (0, before)
    assert "model.pt v1, v3\n" in told
    assert "would remove 2 versions and 2 blobs, 195 KiB freed" in told
    assert code == 0, done
    assert "removed 2 versions and 2 blobs, 195 KiB freed" in done
    run = ExperimentManager(base).get_experiment(run.experiment_id)
    assert [version.version for version in run.list_artifact_versions("model.pt")] == [2, 4]
    assert ntrack(base, "verify")[0] == 0
    assert ntrack(base, "artifacts", "verify")[0] == 0


def numbers(base, run):
    again = ExperimentManager(base).get_experiment(run.experiment_id)
    return [version.version for version in again.list_artifact_versions("model.pt")]


def test_keep_alias_adds_to_the_versions_kept_and_leaves_none_out(base, run):
    code, _ = ntrack(base, "artifacts", "prune", "--keep-last", "1", "--keep-alias", "latest", "-y")

    assert code == 0
    assert numbers(base, run) == [2, 4]


@pytest.mark.parametrize("more", [[], ["--drop-aliased"], ["--dry-run"]])
def test_alias_that_nobody_has_is_refused_before_any_run_is_pruned(base, run, tmp_path, more):
    with ExperimentTracker("other", base) as other:
        for number in range(1, 4):
            (tmp_path / "model.pt").write_bytes(b"%d" % number)
            other.log_artifact(tmp_path / "model.pt", alias="prod" if number == 1 else ())
        assert other.flush(STORED_S)

    aliases = ["--keep-alias", "best", "--keep-alias", "pord"]
    code, told = ntrack(base, "artifacts", "prune", "other", "keeps", "--keep-last", "1", *aliases, "-y", *more)

    assert code == 1
    assert "'pord'" in told and "'best'" not in told
    assert "best, latest, prod" in told
    assert numbers(base, run) == [1, 2, 3, 4]
    assert numbers(base, other) == [1, 2, 3]


def test_drop_aliased_takes_aliased_versions_but_those_of_keep_alias(base, run, tmp_path):
    with ExperimentManager(base).get_experiment(run.experiment_id) as again:
        for alias in ("prod", ()):
            (tmp_path / "model.pt").write_bytes(b"new" * 1000)
            again.log_artifact(tmp_path / "model.pt", alias=alias)
        assert again.flush(STORED_S)

    code, _ = ntrack(base, "artifacts", "prune", "-n", "1", "--drop-aliased", "--keep-alias", "prod", "-y")

    assert code == 0
    assert numbers(base, run) == [5, 6]


@pytest.mark.parametrize("words", [["--keep-alias", "best"], ["--drop-aliased"]])
def test_choice_among_nothing_is_wrong_usage(base, run, words):
    code, told = ntrack(base, "artifacts", "prune", *words, "-y")

    assert code == 2
    assert "--keep-last" in told


def test_run_that_is_not_there_is_refused_also_where_only_blobs_would_go(base, run):
    code, told = ntrack(base, "artifacts", "prune", "keps")

    assert code == 1
    assert "did you mean keeps" in told


def test_no_number_comes_twice_after_a_prune(base, run, tmp_path):
    assert ntrack(base, "artifacts", "prune", "--keep-last", "1", "--drop-aliased", "-y")[0] == 0

    again = ExperimentManager(base).get_experiment(run.experiment_id)
    assert [version.version for version in again.list_artifact_versions("model.pt")] == [4]
    assert again.log_artifact(tmp_path / "model.pt").version == 5
    again.finish()


@pytest.mark.parametrize("words", [["-n", "1"], ["-n", "1", "--drop-aliased"], ["-n", "3"]])
def test_dry_run_tells_what_is_done(base, run, words):
    _, told = ntrack(base, "artifacts", "prune", *words, "--dry-run")

    _, done = ntrack(base, "artifacts", "prune", *words, "-y")

    assert told.replace("would remove", "removed") == done


def test_prune_while_a_training_logs_takes_nothing_of_its_own(base, run, tmp_path):
    with ExperimentTracker("other", base) as tracker:
        versions = []
        for number in range(12):
            (tmp_path / "x").write_bytes(b"%d" % number * 1000)
            versions.append(tracker.log_artifact(tmp_path / "x"))
            if number % 4 == 0:
                assert ntrack(base, "artifacts", "prune", "-n", "2", "-y", run.experiment_id)[0] == 0
        assert tracker.flush(STORED_S)

        assert all(version.verify() for version in versions)


def test_prune_without_a_collector_starts_one(base, run):
    from neural.tracking.collector import commands

    wait_until(lambda: ntrack(base, "verify")[0] == 0, STORED_S, "all is stored")
    assert commands.stop(base, timeout_s=120) == 0

    code, text = ntrack(base, "artifacts", "prune", "--keep-last", "2", "-y")

    assert code == 0, text
    assert "removed 1 version and 1 blob" in text
