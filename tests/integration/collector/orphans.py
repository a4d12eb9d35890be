"""Outboxes of dead processes, which these functions write by hand from the format's description."""

import os
import platform
import subprocess
import sys
import time

from neural.tracking.core.files import TEMPORARY_PREFIX
from neural.tracking.formats import events, segment
from neural.tracking.state import outbox_files as outbox_files
from tests.integration.collector.peer import NAMES, metrics_record


def dead_pid():
    """Return the process id of a process that has exited."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave_outbox(peer, count, *, end=False, emitted=None, boot_id=None, first=1, host=None, change=None):
    """Create the outbox of ``peer``'s session with ``count`` events from ``first`` on, as of a dead process.

    ``change`` is called with the folder before a collector can see it.
    """
    made = peer.state.outbox / peer.session.hex()
    folder = made.with_name(f"{TEMPORARY_PREFIX}{made.name}")
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.parent.chmod(0o700)
    info = {**peer.info(), "pid": dead_pid(), "start_time": 1, "host": host or platform.node()}
    if boot_id:
        info["boot_id"] = boot_id
    (folder / "owner.lock").touch()
    (folder / "session.json").write_bytes(outbox_files.pack_info(peer.session, peer.uid, info))
    data = bytearray(events.pack_schema(peer.session, 1, NAMES))
    for seq in range(first, first + count):
        data += metrics_record(peer.session, seq, len(data))
    last = first + count - 1
    if end:
        last += 1
        body = events.pack_event(last, time.time_ns(), None, "end", {"status": "completed", "error": None})
        seed = segment.seed(peer.session, len(data))
        data += segment.frame(segment.EVENT, body, record_seed=seed)
    head = segment.Header(segment.ROLE_OUTBOX, peer.session, 0, time.time_ns()).pack()
    (folder / "00000001.seg").write_bytes(head + data + bytes(4096))
    page = bytearray(outbox_files.CONTROL_BYTES)
    last = emitted or last
    outbox_files.NUMBER.pack_into(page, outbox_files.NUMBER_AT, last, ~last)
    (folder / "control").write_bytes(page)
    if change:
        change(folder)
    return folder.rename(made)


def damage(folder, seq):
    """Flip a bit in the record of ``seq``."""
    path = next(folder.glob("*.seg"))
    data = bytearray(path.read_bytes())
    at = segment.HEADER_BYTES + segment.aligned(segment.FRAME_BYTES + len("\0".join(NAMES).encode()))
    size = len(metrics_record(bytes(16), 1, 0))
    data[at + (seq - 1) * size + 20] ^= 1
    path.write_bytes(data)
    os.utime(path)
