"""A bad network between sender and collector: cuts, silence, damage, repeated, lost and late messages."""

import json

import pytest

from tests.faults.harness import flipped, rounds
from tests.faults.proxy import MessageProxy, in_front_of
from tests.faults.training import TRAINING, assert_stored, finish_undisturbed
from tests.patience import wait_until


def collector_ready(keeper, base_dir):
    keeper.run_collector(base_dir)
    collector = keeper.collector_of(base_dir)
    collector.wait_ready()
    return collector.state


@pytest.mark.timeout(1800)
def test_connection_cut_silent_slow_and_damaged_again_and_again(keeper, base_dir, rng):
    state = collector_ready(keeper, base_dir)
    with in_front_of(state.data_socket) as proxy:
        trainer = keeper.trainer(base_dir, TRAINING)
        trainer.wait_returned(1)
        for _ in range(rounds(12, 300)):
            rng.choice([proxy.cut, proxy.flip_next, proxy.pause])()
            proxy.delay_s = rng.choice([0.0, 0.02])
            proxy.refusing = rng.random() < 0.3
            trainer.run_for(rng.uniform(0.0, 0.8))
            proxy.resume()
        proxy.refusing, proxy.delay_s = False, 0.0
        connections = proxy.connections_total
        proxy.cut()
        wait_until(lambda: proxy.connections_total > connections, what="it connects again")

        steps = finish_undisturbed(trainer)
        assert_stored(base_dir, steps)


class Bad:
    """Applies one fault to messages now and then, in both directions."""

    def __init__(self, what, rng):
        self.done = 0
        self.often = 0.3
        self._what, self._chance = getattr(self, what), rng
        self._held = []

    def __call__(self, message):
        if self._chance.random() > self.often:
            return [message, *self._let_go()]
        self.done += 1
        return self._what(message)

    def repeated(self, message):
        return [message, message]

    def lost(self, message):
        return []

    def late(self, message):
        self._held.append(message)
        return []

    def damaged(self, message):
        part = self._chance.randrange(len(message))
        if message[part]:
            message[part] = flipped(message[part], self._chance.randrange(8 * len(message[part])))
        return [message]

    def _let_go(self):
        held, self._held = self._held, []
        self._chance.shuffle(held)
        return held


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("what", ["repeated", "lost", "late", "damaged"])
def test_messages_of_which_many_are_bad_arrive_exactly_once(keeper, base_dir, tmp_path, rng, what):
    state = collector_ready(keeper, base_dir)
    there, back = Bad(what, rng), Bad(what, rng)
    endpoint = f"ipc://{tmp_path}/proxy.sock"
    proxy = MessageProxy(endpoint, f"ipc://{state.data_socket}", to_target=there, to_client=back)
    told = json.loads(state.endpoint_file.read_text())
    state.endpoint_file.write_text(json.dumps({**told, "data": endpoint}))
    try:
        trainer = keeper.trainer(base_dir, TRAINING)
        wait_until(lambda: min(there.done, back.done) >= rounds(3, 200), 1500)
        there.often = back.often = 0.0
        steps = finish_undisturbed(trainer)
    finally:
        proxy.close()

    assert_stored(base_dir, steps)
