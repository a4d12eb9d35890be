"""When each artifact job that failed is tried again, with exponential backoff."""

from __future__ import annotations

import time

from neural.tracking.collector.artifacts.run_folders import FIRST_RETRY_S, LONGEST_RETRY_S

Key = tuple[str, int]  # session and number of the event


class Retries:
    """The failed jobs: when to retry, the next pause in seconds, the error. Never blocks."""

    def __init__(self) -> None:
        self._by_key: dict[Key, tuple[float, float, str]] = {}

    def add(self, key: Key, error: str) -> float:
        """Note a failure; return after how many seconds the job is tried again."""
        pause_s = self._by_key.pop(key, (0.0, FIRST_RETRY_S))[1]
        self._by_key[key] = time.monotonic() + pause_s, min(LONGEST_RETRY_S, 2 * pause_s), error
        return pause_s

    def discard(self, key: Key) -> None:
        """Forget a job that is done, or that can be read again."""
        self._by_key.pop(key, None)

    def is_pausing(self, key: Key) -> bool:
        """Return whether the job is not to be tried yet."""
        return time.monotonic() < self._by_key.get(key, (0.0, 0.0))[0]

    def keys(self) -> set[Key]:
        """Return the jobs that failed at their last try."""
        return set(self._by_key)

    @property
    def last_error(self) -> str | None:
        """The error of the job that failed last."""
        return next((error for *_, error in reversed(list(self._by_key.values()))), None)
