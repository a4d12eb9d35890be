"""The visualizer logs an error once per change: for a full disk, or a log position that is gone."""

import logging

from neural.tracking.collector.log.reader import CursorPosition, LogReader
from neural.tracking.collector.visualizer.applier import VisualizerApplier
from neural.tracking.state.paths import State
from tests.made_runs import Emitter, Log


def test_disk_that_takes_nothing_is_told_once_until_it_takes_something(tmp_path, caplog):
    state = State(base_dir=tmp_path, root=tmp_path / ".ntrack")
    visualizer = VisualizerApplier(state)
    visualizer._schedule.watch(b"u" * 16, "exp_75757575", 10)
    visualizer._schedule.logged(b"u" * 16, b"s" * 16, 25)  # and the state folder is missing

    visualizer._save()
    visualizer._save()
    first = len(caplog.records)
    state.plots_due.parent.mkdir(parents=True)
    visualizer._save()

    assert first == 1
    assert len(caplog.records) == 1
    assert state.plots_due.exists()


def test_place_that_is_gone_is_an_error_only_to_who_is_waited_for(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    log = Log(tmp_path)
    emitter = Emitter()
    emitter.open()
    log.add(emitter)
    gone = CursorPosition("00" * 16, 4096)

    for waited_for in (True, False):
        follower = LogReader(log.state.log, gone, waited_for=waited_for)
        follower.read(log.durable)
        follower.close()

    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
