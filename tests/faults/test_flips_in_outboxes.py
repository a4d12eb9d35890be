"""A flipped bit in a dead process's outbox causes an exact gap, or an error that names the outbox."""

import pytest

from neural.tracking.formats import segment
from neural.tracking.reader.run_list import list_runs
from neural.tracking.state.outbox_files import GAP_AT, NUMBER
from neural.tracking.verify.verify import verify_base, verify_run
from tests.faults.flips import STEPS, check_run, leaving
from tests.faults.harness import flip_bit, rounds
from tests.patience import wait_until

SESSIONS = 60
CONTROL_BYTES_USED = GAP_AT + NUMBER.size


def flip_somewhere(outbox, rng):
    """Flip one bit of the used bytes of a random file; return the file's name."""
    path = rng.choice(sorted(outbox.glob("*")))
    while not (size := meaning(path)):
        path = rng.choice(sorted(outbox.glob("*")))
    flip_bit(path, rng.randrange(8 * size))
    return path.name


def meaning(path):
    """Return how many bytes of the file are used."""
    if path.name == "control":
        return CONTROL_BYTES_USED
    if path.suffix == ".seg":
        data = path.read_bytes()
        if data[:8] != segment.MAGIC:
            return 0
        uuid = segment.read_header(data).uuid
        return [record.end for record in segment.scan(data, uuid, base=-64, start=64)][-1]
    return path.stat().st_size


@pytest.mark.timeout(3600)
def test_flip_in_an_orphaned_outbox_is_an_exact_gap_or_refused(keeper, tmp_path, rng):
    for number in range(rounds(1, 20)):
        check_a_round(keeper, tmp_path / str(number) / "runs", rng)


def check_a_round(keeper, base_dir, rng):
    trainer = keeper.trainer(base_dir, leaving(SESSIONS))
    assert trainer.wait() == -9, trainer.output
    outboxes = sorted((base_dir / ".ntrack" / "outbox").iterdir())
    flipped = {outbox.name: flip_somewhere(outbox, rng) for outbox in outboxes}
    assert len(flipped) == SESSIONS
    refused = {name for name, file in flipped.items() if file == "session.json"}

    collector = keeper.run_collector(base_dir)
    left = base_dir / ".ntrack" / "outbox"
    wait_until(lambda: len(list(left.iterdir())) == len(refused), what="all outboxes but the refused are taken")
    wait_until(lambda: len(list_runs(base_dir)) == SESSIONS - len(refused))
    collector.terminate()
    collector.wait(120)

    report = verify_base(base_dir)
    assert len(report.damages) == len(refused)
    assert report.exit_code == (6 if refused else 0), report.damages
    for run in list_runs(base_dir):
        (session,) = verify_run(run.folder).sessions
        lost = sum(last - first + 1 for first, last, _ in session.gaps)
        check_run(run, f"a bit of {flipped[session.session]}")
        assert lost in (0, 1, STEPS), session  # one event, or all events whose metrics have lost their names
