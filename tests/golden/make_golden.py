"""Writes the golden segments again. Run it only when the format version changes, and review the difference."""

from pathlib import Path

from neural.tracking.formats import events, segment
from neural.tracking.formats.events import Gap
from neural.tracking.formats.segment import Header, frame, seed

HERE = Path(__file__).parent
SESSION = bytes(range(16))
UID = bytes(range(16, 32))
LOG = bytes(range(32, 48))
NAMES = ("loss", "größe/π")


def stream(base: int) -> bytes:
    """Return a session's stream from offset ``base``: open, schema, two metrics, a gap, the end."""
    data = b""

    def put(kind: int, body: bytes, record_id: int = 0) -> None:
        nonlocal data
        data += frame(kind, body, record_seed=seed(SESSION, base + len(data)), record_id=record_id)

    put(segment.EVENT, events.pack_event(1, 1_700_000_000_000_000_000, None, "open", {"name": "golden"}))
    data += events.pack_schema(SESSION, 1, NAMES)
    put(segment.METRICS, metrics(2, 10, (0.1, float("inf"))), 1)
    put(segment.METRICS, metrics(3, -11, (-0.0, 5e-324)), 1)
    put(segment.GAP, events.pack_gap(Gap(4, 6, 1_700_000_000_000_000_003, "outbox_full")))
    put(segment.EVENT, events.pack_event(7, 1_700_000_000_000_000_004, None, "end", {"status": "completed"}))
    return data


def metrics(seq: int, step: int, values: tuple[float, ...]) -> bytes:
    """Return the body of a METRICS record."""
    import struct

    return struct.pack(f"<Qqq{len(values)}d", seq, 1_700_000_000_000_000_000 + seq, step, *values)


def outbox() -> bytes:
    """Return an outbox segment in its second lap, with an unwritten end."""
    base = segment.LAP_BYTES + 4096
    head = Header(segment.ROLE_OUTBOX, SESSION, base, 1_700_000_000_000_000_000).pack()
    return (head + stream(base)).ljust(1024, b"\0")


def log() -> bytes:
    """Return a log segment: session, schemas, mark, one batch, a note."""
    data = b""

    def put(kind: int, body: bytes) -> None:
        nonlocal data
        data += frame(kind, body, record_seed=seed(LOG, len(data)))

    put(segment.SESSION, events.pack_session(SESSION, UID, {"name": "golden", "rank": 0}))
    put(segment.SCHEMAS, SESSION + events.pack_schema(SESSION, 1, NAMES))
    put(segment.MARK, events.pack_mark(SESSION, 0, None))
    put(segment.BATCH, events.pack_batch(SESSION, 1, 7, 512, stream(512)))
    put(segment.NOTE, events.pack_note(SESSION, "bye", "bye", 1_700_000_000_000_000_005, n=7))
    return Header(segment.ROLE_LOG, LOG, 0, 1_700_000_000_000_000_000).pack() + data


if __name__ == "__main__":
    (HERE / "outbox-v1.seg").write_bytes(outbox())
    (HERE / "log-v1.seg").write_bytes(log())
