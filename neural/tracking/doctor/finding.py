"""What `ntrack doctor` tells of one thing it looked at."""

from __future__ import annotations

from typing import NamedTuple

OK, NOTE, PROBLEM = "ok", "note", "problem"


class Finding(NamedTuple):
    """One thing that was looked at: ``level``, what was seen, and what to do about it."""

    level: str
    subject: str
    seen: str
    advice: str = ""
