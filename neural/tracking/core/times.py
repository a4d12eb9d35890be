"""Times as people and programs read them."""

from __future__ import annotations

from datetime import UTC, datetime


def iso_time(time_ns: int | None) -> str | None:
    """Return a time as people and programs read it: ISO 8601, UTC, microseconds."""
    if not time_ns:
        return None
    seconds, rest = divmod(time_ns, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
