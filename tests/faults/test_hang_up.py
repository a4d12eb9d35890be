"""A peer closes its connection with unread messages, which makes libzmq abort if it uses heartbeats."""

import subprocess
import sys

import pytest

# A heartbeat timer would fire every 2 s, and on such a connection it would abort the process.
COLLECTOR = """
import asyncio, sys, time, zmq
from neural.tracking.collector.ingest.router import Router

async def main():
    router = Router(zmq.Context(), max_part_bytes=1 << 20)
    router.bind(sys.argv[1])
    theirs = zmq.Context()
    dealer = theirs.socket(zmq.DEALER)
    dealer.connect(router.address)
    fill(dealer, [])
    dealer.close(0)
    theirs.term()
    time.sleep(3)  # a disk that stands still, say: nothing is read meanwhile
    assert router.receive() is not None
    router.close()

asyncio.run(main())
"""
TRAINING = """
import sys, time, zmq
from neural.tracking.formats import wire
from neural.tracking.agent.send.dealer import Dealer

theirs = zmq.Context()
router = theirs.socket(zmq.ROUTER)
router.setsockopt(zmq.ROUTER_MANDATORY, 1)
router.bind(sys.argv[1])
link = Dealer(router.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\\0").decode())
while not link.send(wire.Alive(session=bytes(16))):
    time.sleep(0.01)
fill(router, [router.recv_multipart()[0]])
router.close(0)
theirs.term()
time.sleep(3)  # the training holds the interpreter's lock
assert len(list(link.receive())) == 0 < link.invalid_total
link.close()
"""
FILL = """
import time, zmq

def fill(socket, before):
    waited = 0
    while waited < 50:  # what the other end still takes in makes room
        try:
            socket.send_multipart([*before, b"x" * 20_000], zmq.NOBLOCK)
            waited = 0
        except zmq.Again:
            waited += 1
            time.sleep(0.01)
"""


@pytest.mark.parametrize("script", [COLLECTOR, TRAINING], ids=["collector", "training"])
def test_peer_that_hangs_up_before_it_was_read_does_not_end_the_process(tmp_path, script):
    ended = subprocess.run(
        [sys.executable, "-c", FILL + script, f"ipc://{tmp_path}/s"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip

    assert (ended.returncode, ended.stderr) == (0, "")
