"""The sender with a fake collector: what it sends, frees, and sends again."""

import errno
import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque

import pytest

from neural.tracking.agent.send import protocol as protocol_module
from neural.tracking.agent.send.dealer import Dealer
from neural.tracking.agent.send.delivery_state import DeliveryState
from neural.tracking.agent.send.outbox_reader import KEEP_MAPPED, OutboxReader
from neural.tracking.agent.send.protocol import SenderProtocol
from neural.tracking.formats import wire
from tests.patience import PATIENCE_S
from tests.unit.agent.made import UID, FakeCollector, fill, make_emitter


@pytest.fixture
def collector(tmp_path):
    fake = FakeCollector(tmp_path)
    yield fake
    fake.close()


QUIET_TURNS = 10  # of 30 ms: longer than ZeroMQ's own threads wait for a core


class Ship:
    """A sender's protocol without its thread: the test decides when it sends and when time passes."""

    def __init__(self, folder, collector, **options):
        self.emitter = make_emitter(folder, **options)
        self.session = self.emitter._session
        self.delivery = DeliveryState()
        self.delivery.stream = OutboxReader(self.emitter, self.emitter.outbox)
        self.collector = collector
        self.protocol = SenderProtocol(self.delivery, self.session, self.hello, self.emitter.schemas.records)
        self.now = 100.0
        self.link = None
        self.pipe = self.nobody_wakes, _ = os.pipe()
        self.connect()

    def hello(self):
        return wire.Hello(protocol=1, version="0", session=self.session, uid=UID, info={})

    def connect(self):
        self.protocol.stop()
        if self.link is not None:
            self.link.close()
        self.link = Dealer(self.collector.address)
        self.protocol.start(self.link, self.now)

    def turn(self, until=lambda: False, timeout_s=PATIENCE_S):
        """Exchange messages until the condition is true, or without one until no message is left."""
        deadline = time.monotonic() + timeout_s
        quiet = 0
        while not until() and quiet < QUIET_TURNS:
            assert time.monotonic() < deadline
            self.protocol.send_due(self.now)
            served = self.collector.serve(0.02)
            self.link.wait(self.nobody_wakes, 0.01, for_room=False)
            heard = list(self.link.receive())
            for message in heard:
                self.protocol.handle(message, self.now)
            quiet = 0 if served or heard else quiet + 1

    def close(self):
        self.link.close()
        for fd in self.pipe:
            os.close(fd)


@pytest.fixture
def ship(tmp_path, collector):
    made = Ship(tmp_path / "outbox", collector)
    yield made
    made.close()


def emit(ship, count, width=3):
    for _ in range(count):
        ship.emitter.emit_metrics({f"m{i}": float(i) for i in range(width)})


def stored(collector):
    return [seq for seq, _, _ in collector.events()]


def test_all_is_shipped_and_acknowledged(ship, collector):
    emit(ship, 500)
    ship.turn()
    emit(ship, 500)
    ship.turn()

    assert stored(collector) == list(range(1, 1001))
    assert ship.delivery.stream.acknowledged == 1000
    assert ship.delivery.stream.in_flight_bytes == 0


def test_what_is_acknowledged_is_freed(ship, collector):
    emit(ship, 30_000, width=100)
    ship.turn()

    files = list(ship.emitter.outbox.folder.glob("*.seg"))
    assert stored(collector) == list(range(1, 30_001))
    assert len(ship.delivery.stream.live) == 1
    assert len(files) <= 3


def test_no_more_than_the_window_is_on_the_way(ship, collector):
    collector.window = 100_000
    emit(ship, 10_000)
    ship.turn(until=lambda: ship.protocol.welcomed)
    collector.mute = True
    ship.protocol.send_due(ship.now)

    assert 0 < ship.delivery.stream.in_flight_bytes <= 100_000
    collector.mute = False
    ship.now += 3
    assert not ship.protocol.check_silence(ship.now)
    ship.turn()
    assert stored(collector) == list(range(1, 10_001))


def test_silence_makes_it_say_hello_and_send_again(ship, collector):
    emit(ship, 100)
    ship.turn()
    collector.mute = True
    emit(ship, 100)
    ship.turn()
    collector.mute = False
    ship.now += protocol_module.SILENCE_S + 1

    assert not ship.protocol.check_silence(ship.now)
    ship.turn()

    assert stored(collector) == list(range(1, 201))
    assert sum(isinstance(message, wire.Hello) for message in collector.heard) == 2


def test_silence_without_anything_due_is_no_reason_for_anything(ship, collector):
    emit(ship, 100)
    ship.turn()
    ship.now += 1000

    assert not ship.protocol.check_silence(ship.now)
    assert ship.protocol.welcomed


def test_link_on_which_nobody_ever_answers_is_given_up(ship, collector):
    collector.mute = True
    ship.turn()

    ship.now += protocol_module.GIVE_UP_S + 1

    assert ship.protocol.check_silence(ship.now)


def test_collector_that_forgot_the_session_is_greeted_again_at_once(ship, collector):
    emit(ship, 100)
    ship.turn()
    collector.greeted.clear()
    emit(ship, 100)
    ship.turn()

    assert stored(collector) == list(range(1, 201))


def test_collector_with_a_new_empty_log_gets_what_is_left_and_the_gap_of_what_is_not(ship, collector):
    emit(ship, 30_000, width=100)
    ship.turn()
    freed = ship.delivery.stream._freed
    collector.log_id, collector.last, collector.payloads = os.urandom(16), {}, []
    collector.greeted.clear()
    emit(ship, 10, width=100)
    ship.turn()

    assert collector.gaps == [(1, freed, "log_lost")]
    assert ship.delivery.lost == [(1, freed, "log_lost")]
    assert stored(collector) == list(range(freed + 1, 30_011))


def test_log_restored_from_an_older_copy_gets_the_rest_again(ship, collector):
    emit(ship, 1000)
    ship.turn()
    collector.last[ship.session] = 777
    collector.payloads = []
    collector.greeted.clear()
    emit(ship, 1)
    ship.turn()

    assert stored(collector) == list(range(778, 1002))


def test_schemas_are_sent_again_after_a_welcome(ship, collector):
    emit(ship, 10)
    ship.turn()
    collector.schemas, collector.payloads = {}, []
    collector.greeted.clear()
    emit(ship, 10)
    ship.turn()

    assert stored(collector) == list(range(11, 21))


def test_acknowledgement_of_another_log_or_of_what_was_never_sent_frees_nothing(ship, collector):
    emit(ship, 100)
    ship.turn(until=lambda: ship.protocol.welcomed)
    ship.protocol.send_due(ship.now)
    assert ship.delivery.stream.sent == 100
    known = {"session": ship.session, "window": 1 << 20}

    ship.protocol.handle(wire.Ack(log_id=os.urandom(16), last=100, **known), ship.now)
    ship.protocol.handle(wire.Ack(log_id=collector.log_id, last=10**9, **known), ship.now)
    ship.protocol.handle(
        wire.Ack(log_id=collector.log_id, last=100, session=os.urandom(16), window=9), ship.now
    )

    assert ship.delivery.stream.acknowledged == 0


def test_many_welcomes_for_one_hole_go_back_only_once(ship, collector):
    emit(ship, 20_000)
    ship.turn(until=lambda: ship.protocol.welcomed)
    ship.protocol.send_due(ship.now)
    on_the_way = list(ship.delivery.stream.in_flight)
    welcome = collector.welcome(ship.session)

    ship.protocol.handle(welcome, ship.now)
    ship.protocol.send_due(ship.now)
    for _ in range(5):
        ship.protocol.handle(welcome, ship.now)

    assert list(ship.delivery.stream.in_flight) == on_the_way


def test_flush_is_answered_once_its_number_was_shipped(ship, collector):
    emit(ship, 100)
    request = ship.delivery.ask(100)

    ship.turn()

    assert request.done.is_set()
    order = [type(message) for message in collector.heard]
    assert order.index(wire.Data) < order.index(wire.Barrier)


def test_flush_survives_a_collector_that_was_restarted(ship, collector):
    emit(ship, 10)
    ship.turn()
    collector.mute = True
    request = ship.delivery.ask(10)
    ship.turn()
    collector.mute = False
    collector.greeted.clear()
    ship.now += 60

    ship.protocol.check_silence(ship.now)
    ship.turn()

    assert request.done.is_set()


def test_bye_comes_only_after_everything_is_acknowledged(ship, collector):
    emit(ship, 5000)
    ship.delivery.bye = 5000

    ship.turn()

    assert ship.delivery.closed.is_set()
    assert isinstance(collector.heard[-1], wire.Bye)
    assert collector.ended == {ship.session: 5000}


def test_refusal_is_told_once_and_tried_again_a_minute_later(ship, collector, caplog):
    refusal = wire.Refuse(session=ship.session, code="protocol", reason="speak version 9")
    emit(ship, 1)
    with caplog.at_level(logging.WARNING):
        ship.protocol.handle(refusal, ship.now)
        ship.protocol.handle(refusal, ship.now)

    ship.turn()
    assert collector.heard == []
    assert caplog.text.count("speak version 9") == 1
    ship.now += protocol_module.REFUSED_S + 1
    ship.turn()
    assert stored(collector) == [1]


def test_deleted_run_is_not_sent_any_more(ship, collector):
    ship.protocol.handle(wire.Refuse(session=ship.session, code="run_deleted", reason="gone"), ship.now)
    emit(ship, 5)

    ship.now += 1000
    ship.turn()

    assert ship.delivery.deleted
    assert collector.heard == []


def test_long_outage_keeps_few_segments_mapped_and_loses_nothing(ship, collector):
    emit(ship, 3000, width=3000)
    ship.delivery.stream.keep_few_mapped()

    mapped = [place for place in ship.delivery.stream.live if place.map is not None]
    ship.turn(timeout_s=40)

    assert len(ship.delivery.stream.live) <= 1
    assert len(mapped) == KEEP_MAPPED + 1
    assert stored(collector) == list(range(1, 3001))


def test_dropped_events_travel_as_a_gap_inside_a_batch(tmp_path, collector):
    ship = Ship(tmp_path / "outbox", collector, limit_bytes=4 << 20)
    emit(ship, 10_000, width=100)
    ship.emitter.write_gap()

    ship.turn()

    assert collector.last[ship.session] == 10_000
    assert ship.delivery.stream.acknowledged == 10_000
    assert 0 < len(stored(collector)) < 10_000
    ship.close()


def test_unacknowledged_bytes_can_be_read_by_another_thread_without_harm(ship, collector):
    emit(ship, 30_000)

    data = b"".join(ship.delivery.stream.copies())
    ship.turn()

    assert len(data) >= sum(map(len, collector.payloads)) - 4096


def test_segment_two_threads_come_upon_at_once_is_followed_once(tmp_path):
    emitter = make_emitter(tmp_path)
    stream = OutboxReader(emitter, emitter.outbox)
    rivals = []

    class Contested(deque):
        def _first(self):
            if not rivals:
                rivals.append(threading.Thread(target=stream.keep_few_mapped))
                rivals[0].start()
                rivals[0].join(0.3)

        def append(self, item):
            self._first()
            super().append(item)

        def extend(self, items):
            self._first()
            super().extend(items)

    fill(emitter, 30_000)
    stream.live = Contested(stream.live)
    stream.keep_few_mapped()
    rivals[0].join()

    assert len(stream.live) == 2
    assert stream.live[-1] is emitter.segment


@pytest.mark.timeout(10)
def test_signal_handler_may_read_what_its_thread_is_reading(tmp_path):
    emitter = make_emitter(tmp_path)
    stream = OutboxReader(emitter, emitter.outbox)
    fill(emitter, 10)

    with stream.lock:  # where the handler found its thread
        assert len(list(stream.copies())) == 1


def test_without_descriptors_for_zeromq_there_is_no_link_and_no_abort(tmp_path):
    source = """
import os, resource, sys
from neural.tracking.agent.send.dealer import Dealer
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 4, hard))
try:
    Dealer("ipc://" + sys.argv[1])
except OSError as error:
    sys.exit(error.errno)
"""
    done = subprocess.run([sys.executable, "-c", source, str(tmp_path / "sock")], capture_output=True)

    assert done.returncode == errno.EMFILE, done.stderr
