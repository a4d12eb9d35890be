"""Starting a helper: by one thread at a time, so that a process never ends before one is started."""

import threading

import pytest

from neural.tracking.agent.send import launcher
from neural.tracking.agent.send.launcher import Launcher, collector_of
from neural.tracking.state.paths import State
from tests.patience import PATIENCE_S, wait_until


@pytest.fixture
def helper(tmp_path):
    state = State.for_base_dir(tmp_path / "runs")
    state.base_dir.mkdir()
    state.make()
    return collector_of(state)


def test_second_thread_waits_until_the_first_has_started_the_process(helper, monkeypatch):
    begun, may_start, started = threading.Event(), threading.Event(), []

    def spawn(helper, python):
        begun.set()
        assert may_start.wait(PATIENCE_S)
        started.append(helper.name)

    monkeypatch.setattr(launcher, "_spawn", spawn)
    first = threading.Thread(target=Launcher(helper).launch)
    first.start()
    assert begun.wait(PATIENCE_S)
    seen = []
    second = threading.Thread(target=lambda: seen.append((launcher.launch(helper), list(started))))
    second.start()

    wait_until(lambda: second.is_alive() and not seen)
    may_start.set()
    for thread in (first, second):
        thread.join(PATIENCE_S)

    assert seen == [(True, ["collector"])]


def test_thread_that_waited_starts_one_where_the_first_could_not(helper, monkeypatch):
    begun, may_fail, started = threading.Event(), threading.Event(), []

    def spawn(helper, python):
        if not begun.is_set():
            begun.set()
            assert may_fail.wait(PATIENCE_S)
            raise OSError("no process")
        started.append(helper.name)

    monkeypatch.setattr(launcher, "_spawn", spawn)

    def fail():
        with pytest.raises(OSError, match="no process"):
            Launcher(helper).launch()

    first = threading.Thread(target=fail)
    first.start()
    assert begun.wait(PATIENCE_S)
    second = threading.Thread(target=launcher.launch, args=(helper,))
    second.start()
    may_fail.set()
    for thread in (first, second):
        thread.join(PATIENCE_S)

    assert started == ["collector"]
