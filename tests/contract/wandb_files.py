"""Reads W&B's run files: LevelDB's log format, which contains wandb's own protocol buffers."""

import json
import struct
from pathlib import Path

BLOCK_BYTES = 32 << 10
HEAD_BYTES = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path):
    """Yield wandb's own records of a ``.wandb`` file, in order, without a torn last one."""
    from wandb.proto.wandb_internal_pb2 import Record

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    at, held = HEAD_BYTES, b""
    while at + HEAD_BYTES <= len(data):
        room = BLOCK_BYTES - at % BLOCK_BYTES
        if room < HEAD_BYTES:
            at += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if kind not in (FULL, FIRST, MIDDLE, LAST):
            return
        piece = data[at + HEAD_BYTES : at + HEAD_BYTES + length]
        at += HEAD_BYTES + length
        held = piece if kind in (FULL, FIRST) else held + piece
        if kind in (FULL, LAST):
            record = Record()
            record.ParseFromString(held)
            yield record


def run_files(folder: Path, run_id: str):
    """Return the files of a run, oldest first."""
    return sorted(
        folder.glob(f"wandb/offline-run-*/run-{run_id}.wandb"), key=lambda path: path.stat().st_ctime_ns
    )


def rows(folder: Path, run_id: str):
    """Return every history row of a run as a dict; the parts of an image are one value."""
    return [
        _row(record.history.item)
        for path in run_files(folder, run_id)
        for record in records(path)
        if record.WhichOneof("record_type") == "history"
    ]


def _row(items):
    row = {}
    for item in items:
        name, *part = [item.key] if item.key else item.nested_key
        value = json.loads(item.value_json)
        if part:
            row.setdefault(name, {})["/".join(part)] = value
        else:
            row[name] = value
    return row


def is_number(value):
    """Return whether a value of a row is a number; NaN and the infinities are texts in the file."""
    return isinstance(value, int | float) or value in ("NaN", "Infinity", "-Infinity")
