"""Times as text, and random variation of pauses."""

from __future__ import annotations

from datetime import UTC, datetime


def iso_time(time_ns: int | None) -> str | None:
    """Return a time in ns since 1970 as ISO 8601, UTC, with microseconds; None for None or 0."""
    if not time_ns:
        return None
    seconds, rest = divmod(time_ns, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def jittered(wait_s: float) -> float:
    """Return ``wait_s`` varied by up to 25 %, so that many processes do not try again at the same moment."""
    import random

    return wait_s * random.uniform(0.75, 1.25)
