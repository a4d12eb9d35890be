"""Many uploads over one connection take turns: none waits for a larger one that started before it."""

import os
import time
from collections import Counter, deque

import pytest

from neural.tracking.agent.courier.upload import AGAIN_S
from neural.tracking.agent.courier.uploader import AT_ONCE, SMALL_BYTES, Uploader
from neural.tracking.formats.artifact_event import new_token
from neural.tracking.formats.upload_wire import At, Check, Chunk, Offer, Place, Placed, Whole
from neural.tracking.state import spool

SESSION = "ab" * 16
ADDRESS = "tcp://far.example:5757"
LARGE_BYTES = SMALL_BYTES + 1


class Line:
    """A connection to a fake collector, which answers one message at a time, in their order."""

    is_up = True

    def __init__(self):
        self.sent = Counter()  # bytes by token
        self.placed = []
        self.lost = []  # the next message of each of these kinds is lost
        self._there = Counter()
        self._waiting = deque()

    def send(self, message):
        if isinstance(message, Chunk):
            self.sent[message.token.hex()] += len(message.data)
        self._waiting.append(message)
        return True

    def wait(self, *args, **more):
        pass

    def connection_events(self):
        return ()

    def close(self):
        pass

    def receive(self):
        if not self._waiting:
            return
        message = self._waiting.popleft()
        if type(message) in self.lost:
            self.lost.remove(type(message))
            return
        who = {"session": message.session, "token": message.token}
        if isinstance(message, Chunk):
            self._there[message.token] += len(message.data)
        if isinstance(message, Offer | Chunk):
            yield At(**who, path="", offset=self._there[message.token])
        elif isinstance(message, Check):
            yield Whole(**who, path="")
        elif isinstance(message, Place):
            self.placed.append(message.token.hex())
            yield Placed(**who, outcome={"seq": 1})


class Bench:
    def __init__(self, root):
        self.line = Line()
        self._folder = root / "spool" / SESSION
        self._folder.mkdir(parents=True)
        spool.address(self._folder, ADDRESS)
        self.uploader = Uploader(ADDRESS, root / "spool", root / "outboxes", lambda trouble: None)
        self.uploader._link = self.line
        self.now = time.monotonic()

    def put(self, size):
        """Put a file into the spool; return its token."""
        token = new_token()
        with (self._folder / token).open("wb") as file:
            file.truncate(size)
        return token

    def turns_until(self, condition):
        for _ in range(20_000):
            if condition():
                return
            self.now += 0.001
            assert self.uploader._scan(self.now), "nothing is left"
            self.uploader._turn(self.line, self.now)
        raise AssertionError("it takes too many turns")


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_uploads_that_begin_together_come_to_their_end_together(bench):
    tokens = [bench.put(LARGE_BYTES) for _ in range(5)]

    bench.turns_until(lambda: bench.line.placed)

    assert min(bench.line.sent[token] for token in tokens) > 0.8 * LARGE_BYTES


def test_small_one_does_not_wait_for_large_ones_however_many_there_are(bench):
    large = [bench.put(LARGE_BYTES) for _ in range(2 * AT_ONCE)]
    bench.turns_until(lambda: bench.line.sent.total() > LARGE_BYTES)

    small = bench.put(1000)
    bench.now += 1.0  # until its next check
    bench.turns_until(lambda: bench.line.placed)

    assert bench.line.placed == [small]
    bench.turns_until(lambda: len(bench.line.placed) == 1 + len(large))
    assert sorted(bench.line.placed[1:]) == sorted(large)


@pytest.mark.parametrize("kind", [Offer, Chunk, Check, Place])
def test_what_is_not_answered_is_said_again_within_seconds(bench, kind):
    token = bench.put(1000)
    bench.line.lost = [kind]
    bench.turns_until(lambda: not bench.line.lost)

    bench.now += AGAIN_S + 1.0
    bench.turns_until(lambda: bench.line.placed)

    assert bench.line.placed == [token]


def test_many_small_ones_leave_places_to_large_ones(bench):
    small = [bench.put(1000) for _ in range(3 * AT_ONCE)]
    large = bench.put(LARGE_BYTES)

    bench.turns_until(lambda: len(bench.line.placed) >= AT_ONCE)

    assert 0 < bench.line.sent[large] < LARGE_BYTES
    bench.turns_until(lambda: len(bench.line.placed) == len(small) + 1)
    assert large in bench.line.placed
    assert os.listdir(bench._folder).count(large) == 0
