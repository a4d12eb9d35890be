"""Artifacts that are damaged, lost, refused, or not stored yet."""

import hashlib
import os

import pytest
from click.testing import CliRunner

from neural.tracking import ArtifactDamagedError, ExperimentManager, ExperimentTracker
from neural.tracking.cli import main
from neural.tracking.collector import commands
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State
from neural.tracking.verify.verify import verify_base
from tests.hostile_names import HOSTILE_NAMES
from tests.integration.api.conftest import STORED_S, settled
from tests.patience import PATIENCE_S, wait_until


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_file_left_in_place_and_touched_is_lost_and_never_wrong(base, source):
    with ExperimentTracker("keeps", base, mode="offline") as tracker:
        version = tracker.log_artifact(source, snapshot=False)
        source.write_bytes(os.urandom(200_000))
        later = tracker.log_artifact(source)

    assert commands.start(base, timeout_s=PATIENCE_S) == 0
    manager = ExperimentManager(base)
    run = wait_until(lambda: settled(manager, tracker.experiment_id), STORED_S, "all is stored")

    (lost,) = run._view.run().facts.artifacts.lost()
    assert "was changed before the collector had read it" in lost.lost
    assert [v.checksum for v in run.list_artifact_versions("model.pt")] == [sha256(source.read_bytes())]
    assert (version.version, later.version) == (None, 1)


def flip(path):
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("restarted", [False, True])
def test_run_file_that_is_damaged_delays_the_artifacts_of_that_run_and_loses_none(base, tmp_path, restarted):
    file, contents = tmp_path / "model.pt", [b"%d" % number * 5000 for number in range(3)]
    with ExperimentTracker("harmed", base) as tracker, ExperimentTracker("other", base) as other:
        tracker.log_metrics({"loss": 1.0})
        assert tracker.flush(STORED_S)
        run_file = tracker.experiment_dir / "run.json"
        whole = run_file.read_bytes()
        flip(run_file)
        for content in contents:
            file.write_bytes(content)
            tracker.log_artifact(file)
        assert other.log_artifact(file).wait(STORED_S)
        (held,) = wait_until(
            lambda: request(State.for_base_dir(base), "status", timeout_s=PATIENCE_S)["artifacts"]["held"]
        )
        told = CliRunner().invoke(main, ["status", "--base-dir", str(base)], env={"COLUMNS": "300"}).output
        assert held["run"] == tracker.experiment_dir.name
        assert f"artifacts of {held['run']} wait" in told and "run.json is damaged" in told
        tracker.finish(timeout=0)
    if restarted:
        assert commands.stop(base, timeout_s=PATIENCE_S) == 0
        assert commands.start(base, timeout_s=PATIENCE_S) == 0
    run_file.write_bytes(whole)

    manager = ExperimentManager(base)
    run = wait_until(lambda: settled(manager, tracker.experiment_id), STORED_S, "all is stored")

    assert [(v.version, v.path.read_bytes()) for v in run.list_artifact_versions("model.pt")] == [
        (number + 1, content) for number, content in enumerate(contents)
    ]
    assert verify_base(base).exit_code == 0


def test_job_that_is_damaged_is_told_and_holds_up_no_other(base, source):
    state = State.for_base_dir(base)
    state.artifact_jobs.mkdir(parents=True, mode=0o700)
    job = state.artifact_jobs / f"{'cd' * 16}-1.json"
    job.write_text("damaged")
    kept = state.spool / ("cd" * 16) / ("ef" * 16)
    kept.parent.mkdir(parents=True, mode=0o700)
    kept.write_bytes(b"what its event names, as far as anybody knows")

    with ExperimentTracker("other", base) as other:
        assert other.log_artifact(source).wait(STORED_S)
        (damaged,) = wait_until(lambda: request(state, "status", timeout_s=PATIENCE_S)["artifacts"]["damaged"])
        stray = state.spool / ("ab" * 16) / ("ef" * 16)
        stray.parent.mkdir()
        stray.write_bytes(b"what no event names")
        wait_until(lambda: not stray.exists(), what="the spool was tidied")

    assert job.name in damaged
    assert kept.exists()


@pytest.mark.parametrize("through", ["versions/model.pt/v1_model.pt", "artifacts/model.pt"])
def test_flipped_byte_is_refused_with_both_digests(base, source, tmp_path, through):
    with ExperimentTracker("keeps", base) as tracker:
        version = tracker.log_artifact(source)
        expected = version.checksum
    path = tracker.experiment_dir / through
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 1]))

    with pytest.raises(ArtifactDamagedError) as raised:
        version.verify()
    assert (raised.value.expected, raised.value.found) == (expected, sha256(path.read_bytes()))
    with pytest.raises(ArtifactDamagedError):
        version.copy_to(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert verify_base(base).exit_code == 6


def test_the_same_bytes_logged_after_the_flip_are_stored_anew(base, source):
    with ExperimentTracker("keeps", base) as tracker:
        damaged = tracker.log_artifact(source)
        damaged.path.chmod(0o644)
        damaged.path.write_bytes(bytes(200_000))
        whole = tracker.log_artifact(source)

        assert whole.verify()
        with pytest.raises(ArtifactDamagedError):
            damaged.verify()


def test_deleted_run_frees_its_blobs_and_no_other_s(base, source):
    with ExperimentTracker("one", base) as one, ExperimentTracker("two", base) as two:
        both, only_one = source, source.with_name("only")
        only_one.write_bytes(b"only")
        one.log_artifact(both)
        one.log_artifact(only_one)
        kept = two.log_artifact(both)

    ExperimentManager(base).delete_experiment(one.experiment_id)

    blobs = [path.name for path in State.for_base_dir(base).blobs.rglob("*") if path.is_file()]
    assert blobs == [kept.checksum]
    assert kept.verify()


def test_full_spool_loses_that_artifact_with_a_reason_and_the_training_goes_on(base, tmp_path):
    state = State.for_base_dir(base)
    state.config_file.parent.mkdir(parents=True)
    state.config_file.write_text("[agent]\nspool_limit_bytes = 100000\n")
    big, small = tmp_path / "big", tmp_path / "small"
    big.write_bytes(bytes(100_001))
    small.write_bytes(b"small")

    with ExperimentTracker("keeps", base) as tracker:
        lost = tracker.log_artifact(big)
        tracker.log_metrics({"loss": 1.0})
        stored = tracker.log_artifact(small)

    assert (lost.lost, lost.version, stored.version) == ("spool_full", None, 1)
    report = verify_base(base)
    assert report.exit_code == 0
    (told,) = report.runs[0].artifacts.lost
    assert (told[0], told[2]) == ("big", "spool_full")


def test_hostile_names_end_below_the_run_or_in_a_value_error(base, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"x")
    outside = {path for path in tmp_path.rglob("*") if not path.is_relative_to(base)}
    with ExperimentTracker("keeps", base) as tracker:
        versions = []
        for name in HOSTILE_NAMES:
            try:
                versions.append(tracker.log_artifact(source, name))
            except ValueError:
                continue
            finally:
                with pytest.raises((ValueError, TypeError)):
                    tracker.log_figure({}, name)
        assert tracker.flush(120)

        assert all(version.verify() for version in versions)
        root = tracker.experiment_dir.resolve()
        assert all(version.path.resolve().is_relative_to(root / "versions") for version in versions)
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(base)} == outside


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"metadata": {"x": object()}}, TypeError),
        ({"metadata": [1]}, TypeError),
        ({"alias": "v3"}, ValueError),
        ({"move": True, "snapshot": False}, ValueError),
        ({"name": 7}, TypeError),
        ({"metadata": {"x": "y" * (257 << 10)}}, ValueError),
    ],
)
def test_misuse_is_told_at_the_call_and_leaves_nothing(tracker, source, given, error):
    with pytest.raises(error):
        tracker.log_artifact(source, **given)

    spool = State.for_base_dir(tracker.base_dir).spool
    assert not list(spool.glob(f"{tracker._recorder.session.id.hex()}/*"))
    assert source.exists()


def test_missing_path_is_told_at_the_call(tracker):
    with pytest.raises(FileNotFoundError):
        tracker.log_artifact("/no/such/file")
    with pytest.raises(TypeError, match="needs a path"):
        tracker.log_artifact()


def test_disabled_tracker_keeps_nothing_and_asks_nothing(tmp_path, source):
    tracker = ExperimentTracker("keeps", tmp_path / "runs", mode="disabled")

    version = tracker.log_artifact(source)

    assert (version.version, version.checksum, version.wait()) == (None, None, False)
    assert tracker.list_artifact_versions("model.pt") == []
    assert not (tmp_path / "runs").exists()


def test_without_a_collector_the_version_is_unknown_and_stored_later(base, source):
    with ExperimentTracker("keeps", base, mode="offline") as tracker:
        version = tracker.log_artifact(source)
        assert (version.version, version.lost) == (None, None)

    assert commands.start(base, timeout_s=PATIENCE_S) == 0
    run = wait_until(lambda: settled(ExperimentManager(base), tracker.experiment_id), STORED_S, "all is stored")

    assert run.get_artifact_version("model.pt").checksum == sha256(source.read_bytes())
    assert version.version == 1
