"""Keys for connections over TCP: CURVE key pairs, the collector's allow-list, a user's trusted collectors.

A collector's pair and its allow-list are in ``<base_dir>/.ntrack/keys``. A user's pair and list of trusted
collectors are in ``NTRACK_KEYS``, else in ``~/.config/ntrack``. Secrets are read from files that only their
owner can read, or from the environment. They are never shown: only public keys (``pub-`` and 64 hex digits)
are printed, logged or put on a command line.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from neural.tracking.core.address import host_and_port
from neural.tracking.core.files import atomic_write
from neural.tracking.errors import ConfigError
from neural.tracking.state.paths import private_folder

COLLECTOR_SECRET, CLIENT_SECRET = "collector.secret", "client.secret"
ALLOWED, COLLECTORS = "allowed", "collectors"
FOLDER_VARIABLE = "NTRACK_KEYS"
SECRET_VARIABLE, COLLECTOR_VARIABLE = "NTRACK_CLIENT_SECRET", "NTRACK_COLLECTOR_KEY"
MAX_LIST_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_KEY = re.compile(r"(?P<kind>pub|sec)-(?P<digits>[0-9a-f]{64})", re.ASCII)


class Pair:
    """A key pair; its secret half is not shown by ``repr``."""

    __slots__ = ("public", "secret")

    def __init__(self, public: bytes, secret: bytes) -> None:
        self.public, self.secret = public, secret

    def __repr__(self) -> str:
        return f"<key pair {public_text(self.public)}>"

    @classmethod
    def make(cls) -> Pair:
        """Return a new random pair."""
        import zmq
        from zmq.utils import z85

        public, secret = zmq.curve_keypair()
        return cls(z85.decode(public), z85.decode(secret))

    @classmethod
    def of_secret(cls, secret: bytes) -> Pair:
        """Return the pair of a secret key of 32 bytes."""
        import zmq
        from zmq.utils import z85

        return cls(z85.decode(zmq.curve_public(z85.encode(secret))), secret)


class Security(NamedTuple):
    """The keys for a client's connection: its own pair and the collector's expected public key."""

    pair: Pair
    collector: bytes


def public_text(public: bytes) -> str:
    """Return the text form of a public key: ``pub-`` and 64 hex digits."""
    return f"pub-{public.hex()}"


def parse_public(text: str) -> bytes:
    """Return the public key in a text that a person gave.

    Raises:
        ConfigError: it is not a public key, or is a secret key, which nobody else may have.
    """
    found = _KEY.fullmatch(text.strip())
    if found is not None and found["kind"] == "sec":
        raise ConfigError(
            "this is a secret key, and everyone who saw this command has it now: "
            "make a new one with --renew; give away only public keys, which begin with pub-"
        )
    if found is None:
        raise ConfigError(f"{text[:80]!r} is not a public key: pub- and 64 hex digits, as `ntrack keys` shows")
    return bytes.fromhex(found["digits"])


def user_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of this user's keys, which may not exist."""
    if chosen := environ.get(FOLDER_VARIABLE):
        return Path(os.path.abspath(chosen))
    import platformdirs

    return Path(platformdirs.user_config_dir("ntrack"))


def write_pair(path: Path, pair: Pair, *, replace: bool = False) -> None:
    """Write a pair to a file of mode 0600 in a folder of mode 0700. Blocks briefly on the disk.

    Raises:
        FileExistsError: the file exists and ``replace`` is not set.
        ConfigError, OSError: the folder is another user's, or cannot be created.
    """
    private_folder(path.parent)
    content = f"sec-{pair.secret.hex()}\n".encode()
    if replace:
        atomic_write(path, content, mode=0o600)
        return
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)


def read_pair(path: Path) -> Pair:
    """Return the pair in a secret file.

    Raises:
        FileNotFoundError, OSError: it cannot be read.
        ConfigError: it is another user's, others may read it, or it contains no secret key.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid not in (os.geteuid(), 0):
            raise ConfigError(f"{path} belongs to user {status.st_uid}; a secret key must be your own")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise ConfigError(f"others can read {path}; `chmod 600 {path}`, and consider making a new key")
        text = file.read(200).decode("ascii", "replace")
    return Pair.of_secret(_secret(text, str(path)))


def client_security(address: str, environ: Mapping[str, str] = os.environ) -> Security:
    """Return the keys for a connection to a collector, from the environment, else from the user's folder.

    Raises:
        ConfigError: a key is missing or unusable; the text names the command that fixes it.
        OSError: a file cannot be read.
    """
    folder = user_folder(environ)
    if text := environ.get(SECRET_VARIABLE):
        pair = Pair.of_secret(_secret(text, SECRET_VARIABLE))
    else:
        try:
            pair = read_pair(folder / CLIENT_SECRET)
        except FileNotFoundError:
            raise ConfigError(
                f"this user has no key for {address}: `ntrack keys client` makes one in {folder}"
            ) from None
    if text := environ.get(COLLECTOR_VARIABLE):
        return Security(pair, parse_public(text))
    known = read_list(folder / COLLECTORS).get(host_and_port(address))
    if known is None:
        raise ConfigError(
            f"the key of the collector at {address} is not known here: `ntrack keys collector` shows it on "
            f"its host, `ntrack keys trust {address} <that key>` stores it here"
        )
    return Security(pair, known)


def read_list(path: Path) -> dict[str, bytes]:
    """Return the public keys in a list file, by name; empty if there is no file.

    Each line is ``<name> <key>``; ``#`` begins a comment.

    Raises:
        ConfigError: a line has another form; then no key of the list counts.
        OSError: it cannot be read.
    """
    found: dict[str, bytes] = {}
    try:
        data = path.read_bytes()[:MAX_LIST_BYTES]
    except (FileNotFoundError, NotADirectoryError):
        return found
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            name, key = words
            found[name] = parse_public(key)
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: it must be a name and a public key: {error}") from error
    return found


def write_list(path: Path, entries: Mapping[str, bytes]) -> None:
    """Replace a list file atomically; raises ConfigError and OSError like :func:`write_pair`."""
    private_folder(path.parent)
    text = "".join(f"{name} {public_text(key)}\n" for name, key in entries.items())
    atomic_write(path, text.encode(), mode=0o600)


def check_name(name: str) -> str:
    """Return the name of a key if a list may contain it, else raise ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name[:80]!r} cannot name a key: 1 to 64 letters, digits, . _ @ and -")
    return name


def _secret(text: str, where: str) -> bytes:
    found = _KEY.fullmatch(text.strip())
    if found is None or found["kind"] != "sec":
        raise ConfigError(f"{where} holds no secret key: sec- and 64 hex digits")  # never show the content
    return bytes.fromhex(found["digits"])
