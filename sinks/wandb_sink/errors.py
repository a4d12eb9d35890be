"""What W&B's package says in its errors' texts: that the server is away, denies the key, or says no."""

from __future__ import annotations

import re

from neural.tracking.errors import RetryLater

DENIED_AFTER_S = 60.0
_DENIED = re.compile(r"\b40[13]\b|api.?key|not logged in", re.IGNORECASE)
_AWAY = re.compile(r"timed? ?out|giving up|deadline|connect|dial|EOF|reset|lookup|service", re.IGNORECASE)


def trouble(error: Exception, purpose: str = "") -> RetryLater:
    """Return what to raise where W&B's server did not answer, or said no."""
    text = " ".join(str(error).split())
    if _DENIED.search(text):
        return RetryLater(f"W&B rejected the credentials: {text}", after_s=DENIED_AFTER_S)
    return RetryLater(f"W&B cannot be reached{purpose}: {text}")


def is_gone(error: Exception) -> bool:
    """Return whether the server says that it has no such run."""
    return "could not find run" in str(error).lower()


def is_answer(text: str) -> bool:
    """Return whether the server said no to this one run, say because it was deleted there."""
    if _DENIED.search(text):
        return False
    code = re.search(r"\b(?:HTTP|error|status:?) (\d{3})\b", text)
    if code is not None:
        return code[1].startswith("4") and code[1] not in ("408", "429")
    return not _AWAY.search(text)
