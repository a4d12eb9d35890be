"""Which folder a run has, and what its ``run.json`` says."""

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
    """What ``run.json`` says: who the run is; written once, never changed."""

    uid: bytes
    name: str
    opened_ns: int
    key: str = ""

    @classmethod
    def read(cls, folder: Path) -> RunFile | None:
        """Return what the folder's ``run.json`` says, None where there is none or it says nothing usable.

        For those who only show runs: who decides what becomes of one asks :meth:`load`.
        """
        try:
            return cls.load(folder)
        except (OSError, FormatError):
            return None

    @classmethod
    def load(cls, folder: Path) -> RunFile | None:
        """Return what the folder's ``run.json`` says, None where there is none.

        One without content is none: a host that lost its power may leave the name and not the bytes.

        Raises:
            FormatError: it is damaged, and does not say whose run this is.
            OSError: it cannot be read just now.
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
        """Put ``run.json`` in place; raises OSError."""
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
    """Write ``run.json`` as a session describes its run; durable when this returns. Raises OSError."""
    pid = info["pid"] if isinstance(info.get("pid"), int) else 0
    run = RunFile(uid, str(info.get("name", "run")), opened_ns, str(info.get("key", "")))
    run.write(folder, host=str(info.get("host", "")), pid=pid, durable=True)


def is_torn(folder: Path) -> bool:
    """Return whether ``run.json`` ends too early, and nothing else is in the folder. Raises OSError.

    The host lost its power before the file was durable. The store makes it durable before it writes
    anything beside it, so no data depend on what the file said.
    """
    if any(name != RUN_FILE and not name.startswith(TEMPORARY_PREFIX) for name in os.listdir(folder)):
        return False
    return not read_regular(folder / RUN_FILE).rstrip(b"\0\n").endswith(b"}")


def folder_name(name: str, uid: bytes) -> str:
    """Return ``<name>_<id>``: the run's folder below ``base_dir``."""
    return f"{name}_{uid.hex()[:8]}"


def home_names(name: str, uid: bytes) -> tuple[str, str]:
    """Return what the folder of a run is called that is written to: its own name, and one nobody else can have.

    A folder of another name that holds the run is a copy, or was renamed.
    """
    return folder_name(name, uid), f"run_{uid.hex()}"


def resolve_base_dir(base_dir: str | os.PathLike[str] | None) -> Path:
    """Return the absolute ``base_dir``: the argument, else ``NTRACK_DIR``, else ``neural_experiments``."""
    chosen = base_dir if base_dir is not None else os.environ.get("NTRACK_DIR") or "neural_experiments"
    if not isinstance(chosen, str | os.PathLike):
        raise TypeError(f"base_dir must be a path, not {type(chosen).__name__}")
    if not os.fspath(chosen):
        raise ConfigError("base_dir is empty; leave it out for ./neural_experiments")
    path = Path(os.path.abspath(os.path.expanduser(chosen)))
    if "\0" in str(path):
        raise ConfigError(f"base_dir {os.fspath(chosen)!a} holds a NUL, which no path may")
    try:
        str(path).encode()
    except UnicodeEncodeError:
        # ZeroMQ takes addresses as UTF-8, and so does everything this path is told to.
        raise ConfigError(f"base_dir {os.fspath(path)!a} is not UTF-8; choose another folder") from None
    return path
