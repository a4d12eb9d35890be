"""Ports for servers that must be told theirs before they start."""

import random
import socket

BELOW_THE_SYSTEMS_OWN = range(20_000, 32_000)  # from which nobody is given one who asks for any


def free_port():
    """Return a port of loopback on which nobody listens."""
    chance = random.SystemRandom()  # tests that run beside this one have the same seed
    while True:
        port = chance.choice(BELOW_THE_SYSTEMS_OWN)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
