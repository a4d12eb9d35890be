"""What a training keeps as artifacts, through the collector, to what anybody reads back."""

import hashlib
import json
import os
import shutil
import threading

import pytest
from matplotlib.figure import Figure

from neural.tracking import ArtifactDamagedError, ExperimentManager, ExperimentTracker, TrackingError
from neural.tracking.artifacts.check import Checker
from neural.tracking.artifacts.report import check_artifacts
from neural.tracking.collector import commands
from neural.tracking.rebuild import rebuild_run
from neural.tracking.state import State
from neural.tracking.verify import verify_base, verify_run
from tests.hostile_names import HOSTILE_NAMES
from tests.integration.face.conftest import wait_until

STORED_S = 30


@pytest.fixture
def tracker(shared_base):
    with ExperimentTracker("keeps", shared_base) as made:
        yield made


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(os.urandom(200_000))
    return path


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def change(source, how):
    if how == "overwrite":
        source.write_bytes(b"the next checkpoint")
    elif how == "truncate":
        os.truncate(source, 7)
    elif how == "rename":
        source.rename(source.with_name("other"))
    else:
        source.unlink()


@pytest.mark.parametrize("how", ["overwrite", "truncate", "rename", "delete"])
def test_version_holds_the_bytes_of_the_call_whatever_comes_after(tracker, source, how):
    before = source.read_bytes()

    version = tracker.log_artifact(source)
    change(source, how)

    assert version.wait(STORED_S)
    assert (version.checksum, version.path.read_bytes() == before) == (sha256(before), True)
    assert version.verify()


def test_each_call_is_a_version_and_the_same_bytes_take_no_space(tracker, source):
    versions = [tracker.log_artifact(source) for _ in range(3)]
    source.write_bytes(b"other")
    versions.append(tracker.log_artifact(source))

    assert [version.version for version in versions] == [1, 2, 3, 4]
    assert len({version.path.stat().st_ino for version in versions}) == 2
    assert [v.version for v in tracker.list_artifact_versions("model.pt")] == [1, 2, 3, 4]
    assert all(version.path.stat().st_mode & 0o777 == 0o444 for version in versions)


def test_the_seed_s_spellings_find_the_same_versions(tracker, source):
    tracker.log_artifact(artifact_path=str(source), artifact_name="named")
    tracker.log_model(model_path=source, framework="pytorch", version=True)

    assert tracker.get_artifact_version(artifact_name="named").version == 1
    (model,) = tracker.list_artifact_versions(artifact_name="model.pt")
    assert model.metadata == {"framework": "pytorch"}


def test_version_is_found_by_number_text_and_alias(tracker, source):
    for number in (1, 2, 3):
        source.write_bytes(b"%d" % number)
        tracker.log_artifact(source, alias=["best", "stable"] if number == 2 else "best" if number == 1 else ())

    found = {
        wanted: tracker.get_artifact_version("model.pt", wanted)
        for wanted in (-1, -3, -4, 0, 1, "v2", "2", "best", "stable", "latest", "no", 9)
    }

    numbers = {wanted: None if version is None else version.version for wanted, version in found.items()}
    assert numbers == {
        -1: 3, -3: 1, -4: None, 0: None, 1: 1, "v2": 2, "2": 2, "best": 2, "stable": 2, "latest": 3,
        "no": None, 9: None,
    }  # fmt: skip
    assert tracker.get_artifact_version("nothing") is None


def test_folder_comes_back_as_it_was(tracker, tmp_path):
    folder = tmp_path / "weights"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"a" * 1000)
    (folder / "deep" / "b.bin").write_bytes(b"b")

    version = tracker.log_artifact(folder)
    shutil.rmtree(folder)
    copied = version.copy_to(tmp_path / "back")

    assert version.verify()
    assert (copied / "a.bin").read_bytes() == b"a" * 1000
    assert (copied / "deep" / "b.bin").read_bytes() == b"b"
    assert (version.size, version.to_dict()["files"]) == (1001, 2)


def test_unversioned_replaces_what_is_current(tracker, source):
    for content in (b"one", b"two"):
        source.write_bytes(content)
        version = tracker.log_artifact(source, version=False)
        assert version.wait(STORED_S)

    assert version.version is None
    assert (tracker.experiment_dir / "artifacts" / "model.pt").read_bytes() == b"two"
    assert tracker.list_artifact_versions("model.pt") == []
    assert tracker.artifacts["model.pt"]["current"]["checksum"] == sha256(b"two")


def test_reference_is_recorded_and_not_fetched(tracker, tmp_path):
    version = tracker.log_artifact("s3://bucket/data.tar", reference=True, metadata={"rows": 3})

    assert (version.artifact_name, version.version, version.metadata) == ("data.tar", 1, {"rows": 3})
    assert version.to_dict()["uri"] == "s3://bucket/data.tar"
    assert version.verify()
    with pytest.raises(TrackingError, match="nothing of it was fetched"):
        version.copy_to(tmp_path / "x")


def test_moved_file_is_gone_from_its_path_and_stored(tracker, source):
    before = source.read_bytes()

    version = tracker.log_artifact(source, move=True)

    assert not source.exists()
    assert version.wait(STORED_S)
    assert (version.taken, version.path.read_bytes() == before) == ("move", True)


def test_file_left_in_place_is_stored_from_there(tracker, source):
    version = tracker.log_artifact(source, snapshot=False)

    assert version.wait(STORED_S)
    assert version.checksum == sha256(source.read_bytes())
    assert version.path.stat().st_ino != source.stat().st_ino


def test_file_left_in_place_and_touched_is_lost_and_never_wrong(base, source):
    with ExperimentTracker("keeps", base, mode="offline") as tracker:
        version = tracker.log_artifact(source, snapshot=False)
        source.write_bytes(os.urandom(200_000))
        later = tracker.log_artifact(source)

    commands.start(base)
    manager = ExperimentManager(base)
    run = wait_until(lambda: settled(manager, tracker.experiment_id), STORED_S, "all is stored")

    (lost,) = run._view.run().facts.artifacts.lost()
    assert "was changed before the collector had read it" in lost.lost
    assert [v.checksum for v in run.list_artifact_versions("model.pt")] == [sha256(source.read_bytes())]
    assert (version.version, later.version) == (None, 1)


def settled(manager, experiment_id):
    """Return the run once nothing of it is on its way."""
    tracker = manager.get_experiment(experiment_id)
    artifacts = tracker._view.run().facts.artifacts
    return tracker if artifacts.entries and not artifacts.waiting() else None


def test_figure_is_rendered_now_and_lies_under_plots(tracker):
    figure = Figure()
    figure.subplots().plot([1, 2, 3])

    version = tracker.log_figure(figure, "curve")
    vector = tracker.log_figure(figure, figure_name="curve.svg")

    assert (version.artifact_name, version.version) == ("curve.png", 1)
    assert (tracker.experiment_dir / "plots" / "curve.png").read_bytes()[1:4] == b"PNG"
    assert b"<svg" in vector.path.read_bytes()


class PlotlyFigure:
    """What plotly's figures have that this project uses."""

    def write_html(self, path):
        raise AssertionError("is not called")

    def to_html(self, *, include_plotlyjs):
        return "<html>plot</html>"

    def to_json(self):
        return '{"data": []}'


def test_plotly_figure_becomes_html_and_json(tracker):
    version = tracker.log_figure(PlotlyFigure(), "surface")

    assert (version.artifact_name, version.path.read_text()) == ("surface.html", "<html>plot</html>")
    assert tracker.get_artifact_version("surface.json").path.read_text() == '{"data": []}'


def test_other_figures_are_refused(tracker):
    with pytest.raises(TypeError, match=r"matplotlib's or plotly's, not builtins\.dict"):
        tracker.log_figure({}, "x")


def test_another_process_s_view_reads_and_goes_on_counting(shared_base, source):
    with ExperimentTracker("keeps", shared_base) as first:
        first.log_artifact(source)

    again = ExperimentManager(shared_base).get_experiment(first.experiment_id)
    source.write_bytes(b"more")
    second = again.log_artifact(source)

    assert second.version == 2
    assert again.finish(timeout=STORED_S)
    assert [v.version for v in again.list_artifact_versions("model.pt")] == [1, 2]


def test_threads_that_log_one_name_get_numbers_of_their_own(tracker, tmp_path):
    versions = []

    def log(thread):
        for number in range(5):
            path = tmp_path / f"{thread}-{number}"
            path.write_bytes(b"%d %d" % (thread, number))
            versions.append((path.read_bytes(), tracker.log_artifact(path, "shared")))

    threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(version.version for _, version in versions) == list(range(1, 21))
    assert all(version.path.read_bytes() == content for content, version in versions)


def test_finish_and_flush_wait_for_artifacts_and_the_views_show_them(shared_base, source):
    tracker = ExperimentTracker("keeps", shared_base)
    version = tracker.log_artifact(source, metadata={"epoch": 3})
    assert tracker.flush(STORED_S)
    seen = check_artifacts(tracker.experiment_dir, Checker())
    tracker.log_artifact(source, "second")
    assert tracker.finish(timeout=STORED_S)

    assert (seen.whole, seen.waiting) == (1, [])
    view = tracker.experiment_dir / "artifacts.json"
    shown = wait_until(
        lambda: "second" in (told := json.loads(view.read_text())) and told, STORED_S, "the view"
    )
    (only,) = shown["model.pt"]["versions"]
    assert (only["checksum"], only["metadata"], only["version"]) == (version.checksum, {"epoch": 3}, 1)
    assert shown["model.pt"]["current"]["path"] == "artifacts/model.pt"


def test_run_folder_that_was_moved_verifies_and_rebuilds_by_itself(shared_base, source, tmp_path):
    with ExperimentTracker("keeps", shared_base) as tracker:
        for _ in range(2):
            tracker.log_artifact(source, alias="best")
    view = tracker.experiment_dir / "artifacts.json"
    wait_until(lambda: "v2_" in view.read_text(), STORED_S, "the view")
    moved = shutil.copytree(tracker.experiment_dir, tmp_path / "elsewhere")
    shutil.rmtree(tracker.experiment_dir)
    told = (moved / "artifacts.json").read_bytes()
    (moved / "artifacts.json").unlink()

    rebuild_run(moved)

    assert (moved / "artifacts.json").read_bytes() == told
    assert verify_run(moved).exit_code == 0
    assert check_artifacts(moved, Checker()).whole == 2


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
    assert report.runs[0].artifacts.lost == [("big", 2, "spool_full")] or "spool_full" in str(report.runs[0])


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
        assert tracker.flush(60)

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

    commands.start(base)
    run = wait_until(lambda: settled(ExperimentManager(base), tracker.experiment_id), STORED_S, "all is stored")

    assert run.get_artifact_version("model.pt").checksum == sha256(source.read_bytes())
    assert version.version == 1
