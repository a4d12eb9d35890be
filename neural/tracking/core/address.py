"""Addresses of collectors on other hosts: ``tcp://host:port``."""

from __future__ import annotations

import re
from typing import Any

from neural.tracking.errors import ConfigError

LOCAL = "local"
_ADDRESS = re.compile(r"tcp://(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[A-Za-z0-9*_.-]+):(?P<port>[0-9]{1,5})", re.ASCII)


def check_address(name: str, value: Any) -> str | None:
    """Return the address to connect to; None for None or ``local``, the collector of this host.

    Raises:
        ConfigError: the value is neither ``local`` nor ``tcp://host:port``; the text begins with ``name``.
    """
    if value is None or value == LOCAL:
        return None
    host, port = _parts(name, value, f"{LOCAL!r} or like tcp://collector-host:5757")
    if "*" in host or host in ("0.0.0.0", "[::]") or not port:
        raise ConfigError(f"{name} is {value!r}; it must have the name or address of one host, and a port")
    return str(value)


def check_listen(name: str, value: Any) -> str | None:
    """Return the address to listen on, None for none; port 0 lets the system choose. Raises ConfigError."""
    if value is None:
        return None
    _parts(name, value, "like tcp://0.0.0.0:5757, for every network of this host, or with one of its addresses")
    return str(value)


def host_and_port(address: str) -> str:
    """Return ``host:port`` of a checked address in lower case, as lists of keys have it."""
    return address.removeprefix("tcp://").lower()


def with_port(address: str, port: int) -> str:
    """Return a checked address with another port."""
    return f"{address.rpartition(':')[0]}:{port}"


def next_port(address: str) -> str:
    """Return a checked address with the next port, which receives artifacts. Port 0 remains 0."""
    port = int(address.rpartition(":")[2])
    return with_port(address, port + 1 if port else 0)


def is_ipv6(address: str) -> bool:
    """Return whether the host of a checked address is an IPv6 address."""
    return address.startswith("tcp://[")


def _parts(name: str, value: Any, like: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found["port"]) > 65_535:
        raise ConfigError(f"{name} is {value!r}; it must be {like}")
    return found["host"], int(found["port"])
