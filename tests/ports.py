"""Ports for servers that need a port number before they start."""

import random
import socket

BELOW_EPHEMERAL = range(20_000, 32_000)  # the system assigns its ephemeral ports from a higher range


def free_port():
    """Return a loopback port on which no process listens."""
    rng = random.SystemRandom()  # not the seeded one, which parallel tests share
    while True:
        port = rng.choice(BELOW_EPHEMERAL)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
