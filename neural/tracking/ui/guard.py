"""Who may ask the page for anything, decided before anything is looked at. Plain values in, a refusal out.

A page on this computer alone is open to who uses it, so the danger is a site in the same browser: it must
not be able to read runs (another origin, or a name that it made point here) nor start anything. From other
hosts nobody gets in without the token.
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
_PAUSE_S = 0.5  # after a wrong token, one at a time

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
    """Why a request is not answered."""

    status: int
    reason: str


class Guard:
    """The rules for one address the page listens on."""

    def __init__(self, host: str, token: str | None = None) -> None:
        """Check the address.

        Raises:
            ConfigError: other hosts could reach it, and there is no token, or a short one.
        """
        self.local = is_local(host)
        if not self.local and not token:
            raise ConfigError(
                f"the page would be open to everyone who can reach {host}: set {TOKEN_VARIABLE} to a secret of "
                f"at least {MIN_TOKEN} characters (or give --token-file), or leave out the host to listen on "
                f"127.0.0.1 only"
            )
        if token and len(token) < MIN_TOKEN:
            raise ConfigError(f"the token has {len(token)} characters, it must have at least {MIN_TOKEN}")
        self._token = token or ""
        names = {"localhost", "127.0.0.1", "::1"}
        if not self.local:
            names |= {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
        self._names = names - {"0.0.0.0", "::", ""}
        self._one_at_a_time = threading.Lock()

    def refusal(self, method: str, path: str, headers: Mapping[str, str]) -> Refusal | None:
        """Return why a request must not be answered, None if it may."""
        host = headers.get("Host", "")
        if not self._is_our_name(host):
            return Refusal(421, "this page does not go by that name; open it by the address it printed")
        site = headers.get("Sec-Fetch-Site", "none")
        arrives = method == "GET" and path == "/" and headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
        if site not in ("same-origin", "none") and not arrives:
            return Refusal(403, "another site asked for this; only the page itself may")
        origin = headers.get("Origin")
        if origin not in (None, f"http://{host}", f"https://{host}"):
            return Refusal(403, "another site asked for this; only the page itself may")
        if method not in ("GET", "HEAD", "POST"):
            return Refusal(405, "the page is read, never written")
        return None

    def needs_token(self, cookie: str | None) -> bool:
        """Return whether whoever sent this cookie must sign in first."""
        return bool(self._token) and not hmac.compare_digest(cookie or "", self.cookie)

    @property
    def cookie(self) -> str:
        """What the browser keeps once the token was right: not the token itself."""
        return hmac.new(self._token.encode(), b"ntrack ui 1", hashlib.sha256).hexdigest()

    def is_token(self, given: str) -> bool:
        """Return whether it is the token; slow when it is not."""
        if hmac.compare_digest(given.strip().encode(), self._token.encode()):
            return True
        with self._one_at_a_time:
            time.sleep(_PAUSE_S)
        return False

    def _is_our_name(self, host: str) -> bool:
        name = _without_port(host).lower()
        if name in self._names:
            return True
        # No site can make its own name resolve to here and still send an address as Host.
        return not self.local and _is_address(name)


def is_local(host: str) -> bool:
    """Return whether only this computer can reach the address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_token(file: Path | None = None) -> str | None:
    """Return the token from a private file, else from the environment, None where neither is.

    Raises:
        ConfigError: others may read the file, or it is empty.
    """
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        with file.open("rb") as opened:
            if os.fstat(opened.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(f"others may read {file}: chmod 600 it")
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
