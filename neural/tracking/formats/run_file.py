"""The folder name of a run and its ``run.json``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from neural.tracking.core.files import TEMPORARY_PREFIX, json_checksum, read_regular, write_json
from neural.tracking.errors import ConfigError, FormatError

RUN_FILE = "run.json"
FORMAT = 1


class RunFile(NamedTuple):
    """The content of ``run.json``: the run's identity; written once, never changed."""

    uid: bytes
    name: str
    opened_ns: int
    key: str = ""

    @classmethod
    def read(cls, folder: Path) -> RunFile | None:
        """Return the content of the folder's ``run.json``; None if it is missing, damaged or unreadable.

        It suits code that only shows runs; code that changes or removes a run must call :meth:`load`.
        """
        try:
            return cls.load(folder)
        except (OSError, FormatError):
            return None

    @classmethod
    def load(cls, folder: Path) -> RunFile | None:
        """Return the content of the folder's ``run.json``; None if it is missing or empty.

        An empty file counts as missing: after a power loss a file may have its name but not its bytes.

        Raises:
            FormatError: it is damaged, so that the run's identity is unknown.
            OSError: it cannot be read now.
        """
        try:
            data = read_regular(folder / RUN_FILE)
            if not data.strip(b"\0"):
                return None
            found = json.loads(data)
            crc = found.pop("crc", None)
            if crc is not None and crc != json_checksum(found):
                raise FormatError(f"{folder.name}/{RUN_FILE} is damaged: its checksum does not match")
            return cls(
                uid=bytes.fromhex(found["uid"]),
                name=str(found["name"]),
                opened_ns=int(found["opened_ns"]),
                key=str(found.get("key", "")),
            )
        except FormatError:
            raise
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError(f"{folder.name}/{RUN_FILE} is damaged: {error}") from error

    def write(self, folder: Path, *, host: str, pid: int, durable: bool) -> None:
        """Write ``run.json`` atomically; ``durable``: sync the disk before returning. Raises OSError."""
        content = {
            "format": FORMAT,
            "uid": self.uid.hex(),
            "name": self.name,
            "opened_ns": self.opened_ns,
            "key": self.key,
            "host": host,
            "pid": pid,
        }
        write_json(folder / RUN_FILE, {**content, "crc": json_checksum(content)}, durable=durable)


def write_described(folder: Path, uid: bytes, info: Mapping[str, Any], opened_ns: int) -> None:
    """Write ``run.json`` from a session's description (``info``); durable on return. Raises OSError."""
    pid = info["pid"] if isinstance(info.get("pid"), int) else 0
    run = RunFile(uid, str(info.get("name", "run")), opened_ns, str(info.get("key", "")))
    run.write(folder, host=str(info.get("host", "")), pid=pid, durable=True)


def is_torn(folder: Path) -> bool:
    """Return whether ``run.json`` is incomplete and nothing else is in the folder. Raises OSError.

    Then the host lost its power before the file was durable. The store makes the file durable before it
    writes anything else into the folder, so no data depend on the lost content.
    """
    if any(name != RUN_FILE and not name.startswith(TEMPORARY_PREFIX) for name in os.listdir(folder)):
        return False
    return not read_regular(folder / RUN_FILE).rstrip(b"\0\n").endswith(b"}")


def folder_name(name: str, uid: bytes) -> str:
    """Return ``<name>_<id>``: the name of the run's folder in ``base_dir``."""
    return f"{name}_{uid.hex()[:8]}"


def home_names(name: str, uid: bytes) -> tuple[str, str]:
    """Return the two names that the folder of a live run may have: the usual one, and a unique one.

    A folder with another name that holds the run is a copy, or was renamed.
    """
    return folder_name(name, uid), f"run_{uid.hex()}"


def resolve_base_dir(base_dir: str | os.PathLike[str] | None) -> Path:
    """Return the absolute ``base_dir``: the argument, else ``NTRACK_DIR``, else ``neural_experiments``.

    Raises:
        TypeError: it is not a path.
        ConfigError: it is empty, contains a NUL, or is not UTF-8.
    """
    chosen = base_dir if base_dir is not None else os.environ.get("NTRACK_DIR") or "neural_experiments"
    if not isinstance(chosen, str | os.PathLike):
        raise TypeError(f"base_dir must be a path, not {type(chosen).__name__}")
    if not os.fspath(chosen):
        raise ConfigError("base_dir is empty; leave it out for ./neural_experiments")
    path = Path(os.path.abspath(os.path.expanduser(chosen)))
    if "\0" in str(path):
        raise ConfigError(f"base_dir {os.fspath(chosen)!a} contains a NUL, which no path may contain")
    try:
        str(path).encode()
    except UnicodeEncodeError:
        # ZeroMQ takes addresses as UTF-8, and so do all others that receive this path.
        raise ConfigError(f"base_dir {os.fspath(path)!a} is not UTF-8; choose another folder") from None
    return path
