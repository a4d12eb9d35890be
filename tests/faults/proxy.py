"""A bad network between sender and collector: cut, silent, slow, damaging, or repeating messages."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import zmq
from zmq.utils import z85

from neural.tracking.remote.keys import Pair

Address = Path | tuple[str, int]


class ByteProxy:
    """Passes bytes between a listening address and a target; each is a Unix socket's path or (host, port).

    After ``pause()`` it accepts connections and holds all bytes, as a suspended peer does. ``delay_s``: the
    delay of each piece; the order remains. ``bytes_per_s``: the rate of each direction, with small kernel
    buffers. ``refusing``: closes new connections at once. ``flip_next()`` flips one bit of the next piece to
    the target.
    """

    def __init__(self, listen: Address, target: Address) -> None:
        self.delay_s = 0.0
        self.bytes_per_s = 0
        self.refusing = False
        self.connections_total = 0
        self._target = target
        self._flip = threading.Event()
        self._flow = threading.Event()
        self._flow.set()
        self._closed = False
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = _socket_for(listen)
        self._listener.bind(_bindable(listen))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def pause(self) -> None:
        self._flow.clear()

    def resume(self) -> None:
        self._flow.set()

    def flip_next(self) -> None:
        self._flip.set()

    def cut(self) -> int:
        """Close all connections now, and accept new ones. Return how many sockets were open."""
        with self._lock:
            cut = list(self._sockets)
        for one in cut:
            _shut(one)
        return len(cut)

    def close(self) -> None:
        self._closed = True
        self._flow.set()
        _shut(self._listener)
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            self.connections_total += 1
            server = _socket_for(self._target)
            if self.bytes_per_s:
                _shrink_buffers(client, server)
            try:
                if self.refusing:
                    raise ConnectionRefusedError
                server.connect(_bindable(self._target))
            except OSError:
                _shut(client)
                server.close()
                continue
            with self._lock:
                self._sockets |= {client, server}
            for source, sink, damaging in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, sink, damaging), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, damaging: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 12 if self.bytes_per_s else 1 << 16):
                time.sleep(self.delay_s + (len(piece) / self.bytes_per_s if self.bytes_per_s else 0))
                self._flow.wait()
                if damaging and self._flip.is_set():
                    self._flip.clear()
                    middle = len(piece) // 2
                    piece = piece[:middle] + bytes([piece[middle] ^ 1]) + piece[middle + 1 :]
                sink.sendall(piece)
        for one in (source, sink):
            _shut(one)
            with self._lock:
                self._sockets.discard(one)


@contextlib.contextmanager
def in_front_of(path: Path) -> Iterator[ByteProxy]:
    """Put a proxy in the place of a Unix socket; peers that connect from now on go through it.

    The socket file is renamed, and gets its name back at the end. Earlier connections remain direct.
    """
    behind = path.with_name(path.name + ".behind")
    path.rename(behind)
    proxy = ByteProxy(path, behind)
    try:
        yield proxy
    finally:
        proxy.close()
        with contextlib.suppress(FileNotFoundError):
            behind.rename(path)


Message = list[bytes]


class MessageProxy:
    """Passes whole ZeroMQ messages between DEALERs and a ROUTER, and can repeat or lose them.

    Args:
        listen: endpoint for the DEALERs.
        target: endpoint of the ROUTER.
        to_target: receives each message to the ROUTER, and returns the messages to send instead: ``[m, m]``
            repeats it, ``[]`` loses it. The function may keep a message and return it later.
        to_client: the same for messages from the ROUTER.
        keys: the key pairs of the ROUTER and of the DEALERs; None for unencrypted connections.
    """

    def __init__(
        self,
        listen: str,
        target: str,
        *,
        to_target: Callable[[Message], list[Message]] = lambda message: [message],
        to_client: Callable[[Message], list[Message]] = lambda message: [message],
        keys: tuple[Pair, Pair] | None = None,
    ) -> None:
        self.endpoint = listen
        self._target, self._keys = target, keys
        self._to_target, self._to_client = to_target, to_client
        self._stop = threading.Event()
        self._bound = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listen,), daemon=True)
        self._thread.start()
        if not self._bound.wait(120):
            raise OSError(f"cannot listen on {listen}")

    def close(self) -> None:
        self._stop.set()
        self._thread.join(120)

    def _run(self, listen: str) -> None:
        with zmq.Context() as context:
            context.linger = 0
            front = context.socket(zmq.ROUTER)
            if self._keys is not None:
                front.curve_server = True
                front.curve_secretkey = z85.encode(self._keys[0].secret)
            front.bind(listen)
            self.endpoint = front.last_endpoint.decode()
            self._bound.set()
            backs: dict[bytes, zmq.Socket[bytes]] = {}
            poller = zmq.Poller()
            poller.register(front, zmq.POLLIN)
            while not self._stop.is_set():
                for ready, _ in poller.poll(50):
                    if ready is front:
                        identity, *message = front.recv_multipart()
                        if identity not in backs:
                            backs[identity] = self._back(context)
                            backs[identity].connect(self._target)
                            poller.register(backs[identity], zmq.POLLIN)
                        for one in self._to_target(message):
                            backs[identity].send_multipart(one)
                    else:
                        identity = next(name for name, back in backs.items() if back is ready)
                        for one in self._to_client(ready.recv_multipart()):
                            front.send_multipart([identity, *one])
            context.destroy(linger=0)

    def _back(self, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
        back = context.socket(zmq.DEALER)
        if self._keys is not None:
            back.curve_serverkey = z85.encode(self._keys[0].public)
            back.curve_publickey = z85.encode(self._keys[1].public)
            back.curve_secretkey = z85.encode(self._keys[1].secret)
        return back


def _socket_for(address: Address) -> socket.socket:
    return socket.socket(socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET)


def _shrink_buffers(*sockets: socket.socket) -> None:
    """Make the kernel's buffers small. Otherwise they take megabytes at once, and the connection seems fast."""
    for one in sockets:
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            one.setsockopt(socket.SOL_SOCKET, buffer, 1 << 14)


def _bindable(address: Address) -> str | tuple[str, int]:
    return str(address) if isinstance(address, Path) else address


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
