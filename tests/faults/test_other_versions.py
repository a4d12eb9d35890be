"""A collector with another protocol refuses by name; the right one receives everything."""

import sys

import pytest

from tests.faults.training import ACKNOWLEDGED, TRAINING, assert_stored, finish_undisturbed
from tests.patience import wait_until


def run_other(keeper, base_dir, protocol):
    """Start a collector whose protocol has this number; return it once it accepts connections."""
    script = f"""
import sys
from neural.tracking.formats import wire
from neural.tracking.collector import commands
wire.PROTOCOL = {protocol}
sys.exit(commands.run({str(base_dir)!r}))
"""
    collector = keeper.collector_of(base_dir)
    process = keeper.start([sys.executable, "-P", "-c", script])
    collector.wait_ready()
    return process


@pytest.mark.parametrize("protocol", [0, 2], ids=["older", "newer"])
def test_collector_of_another_protocol_refuses_and_the_right_one_gets_everything(keeper, base_dir, protocol):
    other = run_other(keeper, base_dir, protocol)
    trainer = keeper.trainer(base_dir, TRAINING)
    told = f"this collector speaks protocol {protocol}, the sender 1; upgrade the older"
    wait_until(lambda: told in trainer.output)
    trainer.wait_returned(trainer.returned() + 200)
    assert trainer.returned(ACKNOWLEDGED) == 0

    other.terminate()
    assert other.wait(120) == 0

    trainer.wait_returned(1, ACKNOWLEDGED)
    steps = finish_undisturbed(trainer)
    assert_stored(base_dir, steps)
    assert trainer.output.count("refused") == 1
