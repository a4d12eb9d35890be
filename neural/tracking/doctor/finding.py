"""One finding of `ntrack doctor`."""

from __future__ import annotations

from typing import NamedTuple

OK, NOTE, PROBLEM = "ok", "note", "problem"


class Finding(NamedTuple):
    """The result of one check: its level, what was checked, what was seen, and what to do about it."""

    level: str
    subject: str
    seen: str
    advice: str = ""
