"""A sink worker's knowledge of a run, from the log and from the run's folder."""

from neural.tracking.collector.delivery.run_progress import RunProgress
from neural.tracking.collector.delivery.sink_runs import SinkRuns
from neural.tracking.collector.log.items import LoggedSession
from neural.tracking.reader.facts import SessionFacts
from neural.tracking.sink_state.config import SinkConfig
from neural.tracking.sink_state.progress import Share, SinkFolder
from neural.tracking.sinks.base import RunInfo
from neural.tracking.state.paths import State
from neural.tracking.state.tombstones import Tombstones

UID = b"u" * 16


def test_folder_that_is_behind_the_log_does_not_revive_a_run(tmp_path):
    run = RunProgress(RunInfo("ab" * 16, "train", tmp_path), Share("ab" * 16, "train", str(tmp_path)))
    run.status.update_from_event(_opened())
    run.status.update_from_note(
        "s", {"kind": "died", "key": "died", "time_ns": 7, "reason": "killed by SIGKILL"}
    )
    died = run.share.decided()

    run.status.update_from_folder("s", SessionFacts("s", opened_ns=1))

    assert run.share.decided() == died
    assert died[0] == "failed"


def test_run_of_a_removed_run_s_id_is_delivered_after_what_the_backend_has_and_the_removed_one_is_not(tmp_path):
    state = State(base_dir=tmp_path, root=tmp_path / ".ntrack")
    folder, stones = SinkFolder(state, "wandb"), Tombstones(state.tombstones)
    folder.make()
    runs = SinkRuns(SinkConfig(name="wandb", type="wandb", runs="all"), state, folder)
    before = _session(b"1" * 16)
    opened = runs.of_session(before)
    opened.info.memory["rows"] = 50
    opened.mark_delivered(before.session.hex(), 51)
    runs.save()

    stones.add(UID)
    runs.forget(UID.hex())
    after = _session(b"2" * 16, after=stones.newest(UID))

    for made in (runs, SinkRuns(SinkConfig(name="wandb", type="wandb", runs="all"), state, folder)):
        again = made.of_session(after)
        assert again.info.memory == {"rows": 50}
        assert (again.last_taken(before.session.hex()), again.share.events_total) == (0, 0)
        assert made.of_session(before) is None


def _session(session, **more):
    return LoggedSession(session, UID, {"name": "train", "dir": f"train_{UID.hex()[:8]}", **more})


def _opened():
    from neural.tracking.reader.event_replay import Emitted

    return Emitted("s", 1, 1, None, "open", {"rank": 0, "attempt": 1, "role": "opener", "started_ns": 1})
