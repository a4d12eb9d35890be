"""`ntrack doctor` probes the collector on another host and reports why it cannot be reached."""

import pytest

from neural.tracking.doctor.finding import NOTE, OK, PROBLEM
from neural.tracking.doctor.remote import examine
from neural.tracking.remote import keys
from neural.tracking.state.paths import State
from tests.faults.harness import Clock


@pytest.fixture
def look(remote, own_dir, monkeypatch):
    """Return the findings of the doctor on the training's host."""
    monkeypatch.setenv("NTRACK_KEYS", str(remote.user_keys))

    def found():
        monkeypatch.setenv("NTRACK_COLLECTOR", remote.address)
        (finding,) = examine(State.for_base_dir(own_dir), None)
        return finding

    return found


def test_collector_that_answers_is_told_with_its_round_trip(look, remote):
    assert look().level == OK
    assert remote.address in look().seen


def test_key_that_is_not_allowed_is_told_with_the_command_that_allows_it(look, remote):
    remote.allow()

    found = look()

    assert found.level == PROBLEM
    assert f"ntrack keys allow NAME {keys.public_text(remote.user.public)}" in found.advice


def test_collector_with_another_key_is_told(look, remote):
    remote.trust(keys.Pair.make())

    found = look()

    assert (found.level, "ntrack keys trust" in found.advice) == (PROBLEM, True)


def test_collector_that_is_not_there_is_told(look, remote):
    remote.collector.kill()

    found = look()

    assert (found.level, "nobody answers" in found.seen) == (PROBLEM, True)


def test_secret_that_others_can_read_is_told(look, remote):
    (remote.user_keys / keys.CLIENT_SECRET).chmod(0o644)

    found = look()

    assert (found.level, "chmod 600" in found.seen) == (PROBLEM, True)


def test_clock_that_differs_is_told(look, remote, keeper, tmp_path):
    remote.collector.kill()
    clock = Clock(tmp_path / "clock")
    clock.set_offset(30.0)
    keeper.run_collector(remote.base_dir, "--listen", remote.address, environment=clock.environment)
    remote.collector.wait_ready()

    found = look()

    assert found.level == NOTE
    assert "s ahead" in found.seen


def test_keys_of_a_collector_are_looked_at_on_its_own_host(remote):
    (found,) = examine(remote.state, remote.status())
    assert (found.level, remote.address in found.seen) == (OK, True)

    (remote.state.keys / keys.COLLECTOR_SECRET).chmod(0o644)

    (found,) = examine(remote.state, remote.status())
    assert (found.level, "chmod 600" in found.seen) == (PROBLEM, True)
