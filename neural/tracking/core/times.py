"""Times as people and programs read them, and how long to wait."""

from __future__ import annotations

from datetime import UTC, datetime


def iso_time(time_ns: int | None) -> str | None:
    """Return a time as people and programs read it: ISO 8601, UTC, microseconds."""
    if not time_ns:
        return None
    seconds, rest = divmod(time_ns, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def jittered(wait_s: float) -> float:
    """Return about as long a wait, so that of many processes not all come back at once."""
    import random

    return wait_s * random.uniform(0.75, 1.25)
