"""A folder that is moved or removed once its run is stored to the end: the store does not make it again."""

import shutil

import pytest

from neural.tracking.reader.run import Run
from neural.tracking.verify.verify import verify_run
from tests.made_runs import Emitter, Log, applied, folder_of, values


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "runs")


@pytest.mark.parametrize("state", ["written", "durable", "closed"])
@pytest.mark.parametrize("late", ["bye", "artifact", "mark"])
def test_folder_taken_away_after_its_run_was_stored_to_the_end_is_not_made_again(log, state, late):
    emitter = Emitter().open().metrics({"loss": 1.0}).end()
    sink = applied(log.add(emitter), flush=state != "written")
    while state == "closed" and sink.writers:
        sink.flush()
    shutil.move(folder_of(log, emitter), log.state.base_dir.parent / "elsewhere")

    {
        "bye": lambda: log.bye(emitter),
        "artifact": lambda: log.note(emitter, "artifact", "1", name="m", token="t", version=None, lost="gone"),
        "mark": log.next_segment,
    }[late]()
    applied(log, sink, sink.position).close()

    assert [path.name for path in log.state.base_dir.iterdir()] == [".ntrack"]


def test_next_attempt_of_a_run_that_was_taken_away_gets_its_folder(log):
    first = Emitter().open().metrics({"loss": 1.0}).end()
    sink = applied(log.add(first))
    shutil.rmtree(folder_of(log, first))
    second = Emitter(first.uid, attempt=2).open().metrics({"loss": 2.0})

    applied(log.add(second), sink, sink.position).close()

    assert values(Run(folder_of(log, second)).metric("loss")) == [2.0]
    assert verify_run(folder_of(log, second)).sessions[0].gaps == []


def test_folder_that_is_moved_as_soon_as_the_end_is_visible_is_complete_when_it_comes_back(log):
    first = Emitter().open().metrics({"loss": 1.0}).end()
    sink = applied(log.add(first), flush=False)
    folder, elsewhere = folder_of(log, first), log.state.base_dir.parent / "elsewhere"
    shutil.move(folder, elsewhere)
    sink = applied(log.bye(first), sink, sink.position)
    shutil.move(elsewhere, folder)
    second = Emitter(first.uid, attempt=2).open().metrics({"loss": 2.0})

    applied(log.add(second), sink, sink.position).close()

    assert sorted(values(Run(folder).metric("loss", ranks="all"))) == [1.0, 2.0]
    assert [(s.gaps, s.missing) for s in verify_run(folder).sessions] == [([], []), ([], [])]
