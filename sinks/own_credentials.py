"""Keeps this process's own credentials from an address that only a run named.

They are in the environment and in files below the home folder; a backend's package takes them from
there by itself, whatever the address. So a call to such an address sees neither: only what says how to
get through a network, and an entry of ``.netrc`` that is for that very host.
"""

from __future__ import annotations

import contextlib
import netrc
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

# What is no secret and may be needed on the way; a proxy is the owner's own. All else is left out.
_HARMLESS = re.compile(
    r"PATH|PYTHON\w*|LANG|LC_\w+|TZ|TMPDIR|TEMP|TMP|USER|LOGNAME|SHELL|NTRACK_\w+|(?i:\w+_proxy)"
    r"|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|OPENSSL_CONF|LD_LIBRARY_PATH|OMP_\w+"
    r"|MLFLOW_HTTP_REQUEST_\w+|MLFLOW_TRACKING_INSECURE_TLS|MLFLOW_TRACKING_SERVER_CERT_PATH"
    r"|MLFLOW_SUPPRESS_\w+|MLFLOW_DISABLE_TELEMETRY|DO_NOT_TRACK"
)
_NOWHERE = "/nonexistent"


def same_address(one: str, other: str) -> bool:
    """Return whether two addresses are the same server's, as far as writing goes."""
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
    """Return user and secret that ``.netrc`` holds for the host of an address, by its name.

    Its ``default`` entry is for whomever: that is nobody in particular, so it does not count.
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
def put_away(address: str) -> Iterator[None]:
    """Have what is called inside find no credentials but those that ``.netrc`` has for the address's host.

    The environment is the process's: only for one whose other threads need none of it.
    """
    before = dict(os.environ)
    known = str(_netrc_file()) if netrc_of(address) is not None else os.devnull
    try:
        for name in before:
            if not _HARMLESS.fullmatch(name):
                del os.environ[name]
        os.environ.update(HOME=_NOWHERE, NETRC=known, AWS_EC2_METADATA_DISABLED="true")
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
