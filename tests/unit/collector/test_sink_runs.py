"""What a sink's worker knows of a run, from the log and from the run's folder."""

from neural.tracking.collector.delivery.runs import OpenRun
from neural.tracking.fanout.delivered import Share
from neural.tracking.reader.facts import SessionFacts
from neural.tracking.sinks.sink import RunInfo


def test_folder_that_is_behind_the_log_does_not_revive_a_run(tmp_path):
    run = OpenRun(RunInfo("ab" * 16, "train", tmp_path), Share("ab" * 16, "train", str(tmp_path)))
    run.fold("s", _opened())
    run.heard("s", {"kind": "died", "key": "died", "time_ns": 7, "reason": "killed by SIGKILL"})
    died = run.share.decided()

    run.settle_facts("s", SessionFacts("s", opened_ns=1))

    assert run.share.decided() == died
    assert died[0] == "failed"


def _opened():
    from neural.tracking.reader.emitted import Emitted

    return Emitted("s", 1, 1, None, "open", {"rank": 0, "attempt": 1, "role": "opener", "started_ns": 1})
