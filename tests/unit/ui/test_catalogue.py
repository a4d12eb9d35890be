"""The rows of all runs: read once, read again after a change; errors are reported."""

import json
import math
import os
import shutil
import time

import pytest

from neural.tracking.ui.data import catalogue as module
from neural.tracking.ui.data.catalogue import Catalogue
from neural.tracking.ui.data.series import SeriesStore
from tests.made_runs import Emitter, folder_of
from tests.unit.ui.conftest import looked


def test_row_says_what_the_run_is(runs, catalogue):
    emitter = runs.add("first", params={"lr": 0.1, "net": {"depth": 3}})

    row = looked(catalogue)["first"]

    assert row.key == row.id == emitter.uid.hex()[:8]
    assert (row.status, row.tags, row.params) == ("completed", ("made",), {"lr": 0.1, "net.depth": 3})
    assert row.metrics["loss"]["min"] == pytest.approx(1 / 20)
    assert row.problem is None


def test_live_run_moves_with_every_look(runs, catalogue):
    emitter = runs.add("live", 5, end=None)
    before = looked(catalogue)["live"]

    runs.write(emitter.metrics({"loss": 9.0}, step=5))
    after = looked(catalogue)["live"]

    assert before.status == after.status == "running"
    assert before.metrics["loss"]["last"] == pytest.approx(0.2)
    assert after.metrics["loss"]["last"] == 9.0
    assert [row.name for row in catalogue.changes(before.generation)[0]] == ["live"]


def test_ended_run_is_not_read_again(runs, catalogue, monkeypatch):
    runs.add("done")
    looked(catalogue)
    monkeypatch.setattr(module, "WATCH_ENDED_NS", -(10**18))  # as if it ended long ago
    read = []
    monkeypatch.setattr(module, "read_row", lambda folder: read.append(folder))

    looked(catalogue)

    assert read == []


def test_run_that_goes_on_after_its_end_is_seen(runs, catalogue, monkeypatch):
    emitter = runs.add("again")
    looked(catalogue)
    monkeypatch.setattr(module, "WATCH_ENDED_NS", -(10**18))

    runs.write(emitter.event("tags", add=["second"]))

    assert looked(catalogue)["again"].tags == ("made", "second")


def test_deleted_run_goes_from_the_rows(runs, catalogue):
    kept, gone = runs.add("kept"), runs.add("gone")
    looked(catalogue)
    since = catalogue.generation

    shutil.rmtree(runs.folder(gone))

    assert set(looked(catalogue)) == {"kept"}
    assert catalogue.changes(since)[1] == [gone.uid.hex()[:8]]
    assert catalogue.row(kept.uid.hex()[:8]) is not None


def test_newest_run_comes_first(runs, catalogue):
    runs.add("new", later_s=60)
    runs.add("old")

    looked(catalogue)

    assert [row.name for row in catalogue.rows()] == ["new", "old"]


def half_written(folder):
    for path in folder.glob("events-*.jsonl"):
        path.unlink()
    (folder / "run.json").unlink(missing_ok=True)


def newer(folder):
    (folder / "run.json").write_text(json.dumps({"format": 2, "uid": "00" * 16, "name": "x", "opened_ns": 1}))


def nonsense(folder):
    (folder / "run.json").write_bytes(b"\xff\x00 no json")
    for path in folder.glob("events-*.jsonl"):
        path.unlink()


@pytest.mark.parametrize(
    ("harm", "told"),
    [(half_written, "half-written"), (newer, "newer release"), (nonsense, "run.json is damaged")],
)
def test_folder_that_cannot_be_read_is_told_and_the_rest_is_shown(runs, catalogue, harm, told):
    whole, harmed = runs.add("whole"), runs.add("harmed")
    harm(runs.folder(harmed))

    rows = looked(catalogue)

    assert rows["whole"].problem is None
    assert told in rows["harmed"].problem
    assert not rows["harmed"].readable
    assert catalogue.chosen([row.key for row in catalogue.rows()]) == [rows["whole"]]
    assert whole.uid != harmed.uid


def test_damaged_part_is_told_for_its_run(runs, catalogue):
    emitter = runs.add("hurt", end=None)
    runs.add("whole")
    runs.compact()
    runs.write(*(emitter.metrics({"loss": 9.0}, step=step) for step in range(20, 30)))
    runs.compact()
    name = runs.damage_footer(emitter)

    row = looked(catalogue)["hurt"]

    assert name in row.problem
    assert (row.status, row.params, row.metrics) == ("running", {"lr": 0.1}, {})  # not those of the first part
    assert looked(catalogue)["whole"].problem is None


def test_run_whose_lines_are_damaged_is_told_with_its_name_and_nothing_else(runs, catalogue):
    emitter = runs.add("hurt", end=None)
    (lines,) = runs.folder(emitter).glob("events-*.jsonl")
    lines.write_bytes(lines.read_bytes().replace(b'"lr":0.1', b'"lr":0.9'))

    row = looked(catalogue)["hurt"]

    assert lines.name in row.problem
    assert (row.readable, row.id, row.params) == (False, emitter.uid.hex()[:8], {})


@pytest.mark.frameworks
def test_best_values_name_the_run_whose_values_cannot_be_read(runs, catalogue):
    import flask

    from neural.tracking.ui.views import best
    from neural.tracking.ui.views.controls import Page

    whole, zero = runs.add("whole"), runs.add("hurt", end=None)
    one = Emitter(zero.uid, rank=1, role="rank", name="hurt")
    for step in range(20):
        one.metrics({"loss": 0.0}, step=step)
    runs.write(one)
    runs.compact()
    runs.damage_values(zero)
    rows = looked(catalogue)

    with flask.Flask("page").test_request_context():
        chosen = [(0, rows["whole"]), (1, rows["hurt"])]
        card = best.card(Page(catalogue, SeriesStore()), "loss", chosen, "min")

    assert whole.uid != zero.uid
    assert rows["hurt"].ranks == 2
    assert "part-" in str(card)
    assert "is damaged" in str(card)


def test_views_with_nonsense_in_them_do_not_break_the_look(runs, catalogue):
    emitter = runs.add("odd")
    for view in ("metadata", "summary"):
        (runs.folder(emitter) / f"{view}.json").write_text('["not", "a", "dict"]')

    rows = looked(catalogue)

    assert len(rows) == 1


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("view", "key", "value"),
    [
        ("summary.json", "duration_s", "<b>"),
        ("summary.json", "duration_s", math.inf),
        ("summary.json", "calls", math.inf),
        ("summary.json", "metrics", {"loss": 5}),
        ("metadata.json", "start_time", "x"),
        ("metadata.json", "notes", True),
        ("metadata.json", "tags", [{"a": 1}]),
    ],
)
def test_view_that_says_nonsense_breaks_no_card_and_no_table(runs, catalogue, view, key, value):
    from neural.tracking.ui.views import summary
    from neural.tracking.ui.views.controls import Page, start_ns
    from neural.tracking.ui.views.run_columns import row_data, usual_columns

    folder = runs.folder(runs.add("odd"))
    runs.add("sound")
    path = folder / view
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    for made in ("summary.json", "metadata.json"):  # clearly after the last event, so the views are used
        os.utime(folder / made, (time.time() + 5, time.time() + 5))

    odd = looked(catalogue)["odd"]

    assert looked(catalogue)["sound"].readable
    row_data(odd, usual_columns(catalogue.rows()))
    if odd.readable:
        summary.card(Page(catalogue, SeriesStore()), 0, odd)
        start_ns(odd)


def test_folder_that_is_no_run_is_not_shown(runs, catalogue):
    runs.add("run")
    (runs.base_dir / "comparisons" / "comparison_1").mkdir(parents=True)
    (runs.base_dir / "empty_01234567").mkdir()

    assert set(looked(catalogue)) == {"run"}


def test_copy_of_a_run_has_a_row_of_its_own(runs, catalogue):
    folder = runs.folder(runs.add("twice"))
    shutil.copytree(folder, folder.with_name("copy_of_twice"))

    catalogue.refresh(at_once=True)

    assert len({row.key for row in catalogue.rows()}) == 2


@pytest.mark.parametrize("place", ["missing", "file"])
def test_base_dir_that_is_no_folder_has_no_rows(tmp_path, place):
    (tmp_path / "file").write_text("")
    catalogue = Catalogue(tmp_path / place)

    assert looked(catalogue) == {}
    assert catalogue.complete


def test_run_logged_later_shows_up_where_there_was_nothing(runs, tmp_path):
    catalogue = Catalogue(tmp_path / "runs")
    assert looked(catalogue) == {}

    emitter = runs.add("first")

    assert set(looked(catalogue)) == {"first"}
    assert folder_of(runs.log, emitter).is_dir()
