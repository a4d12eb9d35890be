"""The collector is killed repeatedly while a peer sends: no acknowledged event is lost or doubled."""

import random
import threading
import time

from neural.tracking.formats import wire
from tests.integration.collector.peer import LogContent

KILLS = 8


def send_until(peer, stop):
    """Send batches, go-back-N, until ``stop`` is set; return the highest acknowledged number."""
    batches = {}
    acked = 0
    patience_s = 0.3  # longer after each timeout: a busy machine may need more time

    def go_on(answer):
        nonlocal acked, patience_s
        if isinstance(answer, wire.Welcome | wire.Ack):
            assert answer.last >= acked, "took back an acknowledgement"
            acked = answer.last
            return True
        patience_s = min(5.0, patience_s * 1.5)
        return False

    while True:
        if not go_on(peer.ask(peer.hello_message(), patience_s)):
            peer.connect()
            continue
        if stop.is_set() and acked == peer.seq:
            return acked
        position = acked + 1
        while position - acked < 400:
            if position > peer.seq:
                if stop.is_set():
                    break
                batch = peer.batch(random.randrange(1, 60))
                batches[batch.first] = batch
            if position not in batches:
                break  # cut at another place: impossible, the collector stores whole batches only
            peer.send(batches[position])
            position = batches[position].last + 1
        while acked < position - 1 and go_on(peer.hear(patience_s)):
            pass


def test_kills_while_sending_lose_and_double_nothing(start_collector, make_peer):
    collector = start_collector()
    peer = make_peer()
    stop = threading.Event()
    result = []
    sender = threading.Thread(target=lambda: result.append(send_until(peer, stop)))
    sender.start()
    dice = random.Random(11)
    acknowledged = []
    for _ in range(KILLS):
        time.sleep(dice.uniform(0.0, 0.4))
        collector.kill()
        acknowledged.append(sum(map(len, LogContent(peer.state.log).numbers.values())))
        collector = start_collector()
    stop.set()
    sender.join(120)

    content = LogContent(peer.state.log)
    assert result == [peer.seq]
    assert content.numbers[peer.session] == list(range(1, peer.seq + 1))
    assert content.damages == []
    assert acknowledged == sorted(acknowledged)


def test_kill_right_after_an_acknowledgement_keeps_it(start_collector, make_peer):
    collector = start_collector()
    peer = make_peer()
    for _ in range(4):
        peer.hello()
        acked = peer.ask(peer.batch(500)).last
        collector.kill()

        assert LogContent(peer.state.log).numbers[peer.session][-1] == acked
        collector = start_collector()
        peer.connect()
    assert peer.hello().last == 2000
