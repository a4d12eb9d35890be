"""The proxies work as documented; ``test_tools.py`` explains why tools have tests."""

import socket
import threading
import time

import pytest
import zmq

from tests.faults.proxy import ByteProxy, MessageProxy, in_front_of


@pytest.fixture
def echo(tmp_path):
    """Return a Unix socket that sends back what it receives."""
    path = tmp_path / "s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve():
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=answer, args=(client,), daemon=True).start()

    def answer(client):
        with client:
            while piece := client.recv(100):
                client.sendall(piece)

    threading.Thread(target=serve, daemon=True).start()
    yield path
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def connected(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(str(path))
    return client


def test_proxy_passes_flips_pauses_and_cuts(echo):
    with in_front_of(echo) as proxy, connected(echo) as client:
        client.sendall(b"abc")
        assert client.recv(100) == b"abc"

        proxy.flip_next()
        client.sendall(b"abc")
        assert client.recv(100) == b"acc"

        proxy.pause()
        client.sendall(b"later")
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(100)
        proxy.resume()
        client.settimeout(60)
        assert client.recv(100) == b"later"

        assert proxy.cut() == 2
        assert client.recv(100) == b""

        proxy.refusing = True
        with connected(echo) as refused:
            assert refused.recv(100) == b""

    with connected(echo) as direct:
        direct.sendall(b"direct")
        assert direct.recv(100) == b"direct"


def test_proxy_listens_on_tcp_and_delays(echo):
    proxy = ByteProxy(("127.0.0.1", 0), echo)
    proxy.delay_s = 0.05
    with socket.create_connection(("127.0.0.1", proxy.port), 60) as client:
        begun = time.monotonic()

        client.sendall(b"slow")

        assert client.recv(100) == b"slow"
        assert time.monotonic() - begun >= 0.1  # both ways
    proxy.close()


def test_message_proxy_repeats_and_loses_whole_messages(tmp_path):
    behind, front = f"ipc://{tmp_path}/b", f"ipc://{tmp_path}/f"

    def unless_lost(message):
        return [] if message == [b"lost"] else [message, message]

    with zmq.Context() as context:
        router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        router.rcvtimeo = dealer.rcvtimeo = 60_000
        router.bind(behind)
        proxy = MessageProxy(front, behind, to_target=unless_lost)
        dealer.connect(front)

        for message in (b"one", b"lost", b"two"):
            dealer.send(message)
        got = [router.recv_multipart() for _ in range(4)]
        router.send_multipart([got[0][0], b"back"])

        assert [body for _, body in got] == [b"one", b"one", b"two", b"two"]
        assert dealer.recv() == b"back"
        proxy.close()
        context.destroy(linger=0)
