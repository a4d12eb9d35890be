"""Keeps this process's own credentials from an address that only a run names.

These credentials are in the environment and in files in the home folder. A backend's package reads them there,
whatever the address is. So a call to such an address sees neither of them. It sees only the variables for the
network, and the entry of ``.netrc`` for exactly that host.
"""

from __future__ import annotations

import contextlib
import netrc
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

# These are no secrets and a connection may need them; the collector's owner trusts the proxy. No others pass.
_HARMLESS = re.compile(
    r"PATH|PYTHON\w*|LANG|LC_\w+|TZ|TMPDIR|TEMP|TMP|USER|LOGNAME|SHELL|NTRACK_\w+|(?i:\w+_proxy)"
    r"|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|OPENSSL_CONF|LD_LIBRARY_PATH|OMP_\w+"
    r"|MLFLOW_HTTP_REQUEST_\w+|MLFLOW_TRACKING_INSECURE_TLS|MLFLOW_TRACKING_SERVER_CERT_PATH"
    r"|MLFLOW_SUPPRESS_\w+|MLFLOW_DISABLE_TELEMETRY|DO_NOT_TRACK"
)
_NO_HOME = "/nonexistent"


def same_address(one: str, other: str) -> bool:
    """Return whether two addresses differ only in spelling: default port, user and password, last slash."""
    return _normal(one) == _normal(other)


def _normal(address: str) -> tuple[str, ...]:
    try:
        parts = urlsplit(address)
        default = {"http": 80, "https": 443}.get(parts.scheme)
        return (
            parts.scheme,
            parts.hostname or "",
            str(parts.port or default),
            parts.path.rstrip("/"),
            parts.query,
        )
    except ValueError:
        return (address,)


def netrc_of(address: str) -> tuple[str, str] | None:
    """Return user and password of the ``.netrc`` entry for the host of an address; None if there is none.

    The ``default`` entry names no host, so it does not count. A file that cannot be read counts as missing.
    """
    file = _netrc_file()
    try:
        parts = urlsplit(address)
        hosts = netrc.netrc(file).hosts
    except (OSError, netrc.NetrcParseError, ValueError):
        return None
    for name in (parts.netloc.rpartition("@")[2], parts.hostname or ""):
        if name and name != "default" and name in hosts:
            login, account, password = hosts[name]
            return (login or account or "", password) if password else None
    return None


def _netrc_file() -> Path:
    named = os.environ.get("NETRC")
    if named:
        return Path(named).expanduser()
    return next((p for n in (".netrc", "_netrc") if (p := Path.home() / n).exists()), Path.home() / ".netrc")


@contextlib.contextmanager
def hidden_from(address: str) -> Iterator[None]:
    """Hide the credentials in the context, except those that ``.netrc`` has for the address's host.

    It changes the environment of the whole process: no other thread may need the environment meanwhile.
    """
    before = dict(os.environ)
    known = str(_netrc_file()) if netrc_of(address) is not None else os.devnull
    try:
        for name in before:
            if not _HARMLESS.fullmatch(name):
                del os.environ[name]
        os.environ.update(HOME=_NO_HOME, NETRC=known, AWS_EC2_METADATA_DISABLED="true")
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
