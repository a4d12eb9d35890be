"""Decides whether a request is answered, before anything reads it. It needs no Dash and no Flask.

A page that listens on this computer only is open to its users. The threat is another web site in the same
browser: it must not read runs (from another origin, or by DNS rebinding) and must not start anything. Requests
from other hosts need the token.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import socket
import stat
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from neural.tracking.errors import ConfigError

TOKEN_VARIABLE = "NTRACK_UI_TOKEN"
MIN_TOKEN = 16
COOKIE = "ntrack_ui"
SIGN_IN = "/sign-in"
_PAUSE_S = 0.5  # after each wrong token; tokens are checked one at a time

CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Refusal(NamedTuple):
    """The HTTP status and the reason why a request is refused."""

    status: int
    reason: str


class Guard:
    """The rules for the address on which the page listens."""

    def __init__(self, host: str, token: str | None = None) -> None:
        """Check the address and the token.

        Raises:
            ConfigError: other hosts can reach the address, and the token is missing; or the token is too short.
        """
        self.local = is_local(host)
        if not self.local and not token:
            raise ConfigError(
                f"everyone who can reach {host} could open the page: set {TOKEN_VARIABLE} to a secret of at "
                f"least {MIN_TOKEN} characters (or give --token-file), or leave out the host to listen on "
                f"127.0.0.1 only"
            )
        if token and len(token) < MIN_TOKEN:
            raise ConfigError(f"the token has {len(token)} characters; it must have at least {MIN_TOKEN}")
        self._token = token or ""
        names = {"localhost", "127.0.0.1", "::1"}
        if not self.local:
            names |= {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
        self._names = names - {"0.0.0.0", "::", ""}
        self._pause_lock = threading.Lock()

    def refusal(self, method: str, path: str, headers: Mapping[str, str]) -> Refusal | None:
        """Return why a request must be refused; None if it may be answered. Never blocks."""
        host = headers.get("Host", "")
        if not self._is_our_name(host):
            return Refusal(421, "unknown host name; open the page with the address that ntrack ui printed")
        site = headers.get("Sec-Fetch-Site", "none")
        arrives = method == "GET" and path == "/" and headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
        if site not in ("same-origin", "none") and not arrives:
            return Refusal(403, "requests from other web sites are refused")
        origin = headers.get("Origin")
        if origin not in (None, f"http://{host}", f"https://{host}"):
            return Refusal(403, "requests from other web sites are refused")
        if method not in ("GET", "HEAD", "POST"):
            return Refusal(405, "the page accepts only GET, HEAD and POST")
        return None

    def needs_token(self, cookie: str | None) -> bool:
        """Return whether the sender of this cookie must sign in first."""
        return bool(self._token) and not hmac.compare_digest(cookie or "", self.cookie)

    @property
    def cookie(self) -> str:
        """The cookie of a browser that has signed in. It is derived from the token, but is not the token."""
        return hmac.new(self._token.encode(), b"ntrack ui 1", hashlib.sha256).hexdigest()

    def is_token(self, given: str) -> bool:
        """Return whether ``given`` is the token. Blocks for at least 0.5 s if it is not."""
        if hmac.compare_digest(given.strip().encode(), self._token.encode()):
            return True
        with self._pause_lock:
            time.sleep(_PAUSE_S)
        return False

    def _is_our_name(self, host: str) -> bool:
        name = _without_port(host).lower()
        if name in self._names:
            return True
        # A site can resolve its own name to this host, but then the Host header has that name, not an address.
        return not self.local and _is_address(name)


def is_local(host: str) -> bool:
    """Return whether only this computer can reach the address (loopback)."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_token(file: Path | None = None) -> str | None:
    """Return the token from a file of mode 0600, else from the environment; None if there is neither.

    Raises:
        ConfigError: other users may read the file, it cannot be read, or it is empty.
    """
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        with file.open("rb") as opened:
            if os.fstat(opened.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(f"other users may read {file}: run chmod 600 {file}")
            token = opened.read(4096).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the token file {file}: {error}") from error
    if not token:
        raise ConfigError(f"the token file {file} is empty")
    return token


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
