"""A second collector writes to a run folder, because the first one's state folder was lost."""

from neural.tracking.reader.run import Run
from neural.tracking.verify.verify import verify_run
from tests.made_runs import Emitter, applied, folder_of, values


def lose_state_folder(log):
    """Remove the state folder: only the run folder remains, and the next writer is another collector's."""
    (log.state.root / "id").unlink()


def account(log, emitter):
    (session,) = verify_run(folder_of(log, emitter)).sessions
    return session


def test_parts_of_one_collector_leave_the_tail_of_another_alone(log):
    emitter = Emitter().open().metrics({"loss": 1.0})
    applied(log.add(emitter)).close()
    lose_state_folder(log)

    applied(log.add(emitter.metrics({"loss": 2.0}).end())).close()  # the end compacts the tail into a part

    assert values(Run(folder_of(log, emitter)).metric("loss")) == [1.0, 2.0]
    assert (account(log, emitter).missing, account(log, emitter).doubled) == ([], [])


def test_what_the_other_collector_stored_but_never_vouched_for_counts_once(log):
    emitter = Emitter().open()
    sink = applied(log.add(emitter))
    applied(log.add(emitter.metrics({"loss": 1.0})), sink, flush=False)  # the new ledger does not have it
    lose_state_folder(log)

    applied(log.add(emitter.metrics({"loss": 2.0}))).close()

    assert values(Run(folder_of(log, emitter)).metric("loss")) == [1.0, 2.0]
    assert account(log, emitter).doubled == []


def test_batch_that_the_other_collector_stored_in_part_is_cut(log):
    emitter = Emitter().open().metrics({"loss": 1.0})
    start, payload = emitter.offset, emitter.payload
    applied(log.add(emitter)).close()
    lose_state_folder(log)
    emitter.metrics({"loss": 2.0})
    emitter.first, emitter.offset, emitter.payload = 1, start, payload + emitter.payload

    applied(log.add(emitter)).close()

    assert values(Run(folder_of(log, emitter)).metric("loss")) == [1.0, 2.0]
    assert (account(log, emitter).missing, account(log, emitter).doubled) == ([], [])
