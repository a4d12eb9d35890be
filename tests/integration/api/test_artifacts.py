"""A training's artifacts, through the collector, as any reader reads them."""

import hashlib
import json
import os
import shutil
import threading

import pytest
from matplotlib.figure import Figure

from neural.tracking import ExperimentManager, ExperimentTracker, TrackingError
from neural.tracking.artifacts.check import Checker
from neural.tracking.artifacts.report import check_artifacts
from neural.tracking.verify.rebuild import rebuild_run
from neural.tracking.verify.verify import verify_run
from tests.integration.api.conftest import STORED_S
from tests.patience import wait_until


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

    assert all(version.wait(STORED_S) for version in versions)
    assert [version.version for version in versions] == [1, 2, 3, 4]
    assert len({version.path.stat().st_ino for version in versions}) == 2
    assert [v.version for v in tracker.list_artifact_versions("model.pt")] == [1, 2, 3, 4]
    assert all(version.path.stat().st_mode & 0o777 == 0o444 for version in versions)


@pytest.mark.parametrize("options", [{}, {"version": False}, {"move": True}, {"snapshot": False}])
def test_executable_stays_executable(tracker, tmp_path, options):
    script = tmp_path / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)

    version = tracker.log_artifact(script, **options)

    assert version.wait(STORED_S)
    assert os.access(version.copy_to(tmp_path / "copy.sh"), os.X_OK)


def test_executables_of_a_folder_are_in_its_manifest_and_its_copy(tracker, tmp_path):
    folder = tmp_path / "package"
    folder.mkdir()
    for name, mode in (("run.sh", 0o755), ("data", 0o644)):
        (folder / name).write_text(name)
        (folder / name).chmod(mode)

    version = tracker.log_artifact(folder)

    assert version.wait(STORED_S)
    listed = json.loads(version.path.with_name(version.path.name + ".manifest.json").read_bytes())["files"]
    assert [(each["path"], each.get("executable")) for each in listed] == [("data", None), ("run.sh", True)]
    copy = version.copy_to(tmp_path / "copy")
    assert {path.name: os.access(path, os.X_OK) for path in copy.iterdir()} == {"run.sh": True, "data": False}
    (folder / "run.sh").chmod(0o644)
    assert tracker.log_artifact(folder).checksum != version.checksum


def test_folder_that_holds_the_runs_is_kept_without_them_and_never_moved(tracker, tmp_path, monkeypatch):
    work = tracker.experiment_dir.parent.parent
    (work / "notes").write_bytes(b"n")
    monkeypatch.chdir(work)

    version = tracker.log_artifact(".", name="work", alias=None)

    assert version.wait(STORED_S)
    assert [path.relative_to(version.path).as_posix() for path in version.path.rglob("*")] == ["notes"]
    with pytest.raises(ValueError, match="holds the runs themselves"):
        tracker.log_artifact(".", name="work", move=True)
    with pytest.raises(ValueError, match="holds the runs themselves"):
        tracker.log_artifact(tracker.experiment_dir.parent, move=True)
    assert (tracker.experiment_dir / "run.json").is_file()


def test_file_with_holes_takes_no_disk_for_them(tracker, tmp_path):
    source = tmp_path / "memory.map"
    with source.open("wb") as file:
        file.truncate(256 << 20)
        file.seek(100 << 20)
        file.write(b"data" * 1000)

    version = tracker.log_artifact(source)

    assert version.wait(STORED_S)
    copy = version.copy_to(tmp_path / "copy")
    assert [path.stat().st_blocks * 512 < 2 << 20 for path in (version.path, copy)] == [True, True]
    assert copy.stat().st_size == 256 << 20


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

    assert version.wait(STORED_S)
    assert (version.artifact_name, version.version, version.metadata) == ("data.tar", 1, {"rows": 3})
    assert version.to_dict()["uri"] == "s3://bucket/data.tar"
    assert version.verify()
    with pytest.raises(TrackingError, match="its content is not stored"):
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


def test_figure_is_rendered_now_and_lies_under_plots(tracker):
    figure = Figure()
    figure.subplots().plot([1, 2, 3])

    version = tracker.log_figure(figure, "curve")
    vector = tracker.log_figure(figure, figure_name="curve.svg")

    assert version.wait(STORED_S) and vector.wait(STORED_S)
    assert (version.artifact_name, version.version) == ("curve.png", 1)
    assert (tracker.experiment_dir / "plots" / "curve.png").read_bytes()[1:4] == b"PNG"
    assert b"<svg" in vector.path.read_bytes()


class PlotlyFigure:
    """The part of plotly's figures that this project uses."""

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


@pytest.fixture
def kaleido_without_browser(tmp_path, monkeypatch):
    (tmp_path / "kaleido.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    def to_image(self, *, format):
        raise RuntimeError(f"no browser for this {format}\nmany more lines")

    monkeypatch.setattr(PlotlyFigure, "to_image", to_image, raising=False)


def test_picture_that_cannot_be_made_is_told_once_and_ends_no_training(
    tracker, kaleido_without_browser, caplog
):
    asked = tracker.log_figure(PlotlyFigure(), "asked.webp")
    tracker.log_figure(PlotlyFigure(), "again.webp")

    assert asked.artifact_name == "asked.html"
    assert tracker.get_artifact_version("asked.json") is not None
    (told,) = [record.getMessage() for record in caplog.records if "as an image" in record.getMessage()]
    assert told.endswith("asked.webp was stored as HTML and JSON, not as an image: no browser for this webp")


@pytest.mark.frameworks
def test_plotly_figure_becomes_a_picture_where_kaleido_and_a_browser_are(tracker):
    import plotly.graph_objects

    figure = plotly.graph_objects.Figure(plotly.graph_objects.Scatter(y=[1, 3, 2]))

    tracker.log_figure(figure, "scatter")
    asked = tracker.log_figure(figure, "scatter.svg")

    assert tracker.get_artifact_version("scatter.png").path.read_bytes()[1:4] == b"PNG"
    assert b"plotly" in tracker.get_artifact_version("scatter.html").path.read_bytes()
    assert asked.path.read_text().startswith("<svg")


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
