"""A run that the store is writing: its writer, and when its JSON views are made next."""

from __future__ import annotations

import logging
import time

from neural.tracking.collector.log.items import LoggedSession
from neural.tracking.collector.store.run_writer import RunWriter
from neural.tracking.errors import DataDamagedError, RetryLater, TrackingError
from neural.tracking.reader import json_views
from neural.tracking.state.tombstones import Tombstone

logger = logging.getLogger(__name__)

DAMAGED_PAUSE_S = 60.0  # the views of a damaged run cannot be made, and each try reads the whole run
# After views were made, they are not made again before this many times the seconds that it took.
VIEW_PAUSE_FACTOR = 20
SUMMARY_EVERY_S = 10.0


class OpenRun:
    """The writer of one run with its sessions, and the state of the run's views."""

    def __init__(self, writer: RunWriter, stone: Tombstone | None) -> None:
        self.writer = writer
        self.stone = stone  # of a run with the same uid that was removed before this one
        self.sessions: dict[bytes, LoggedSession] = {}
        self.written_s = time.monotonic()
        self._views_after_s = 0.0
        self._summary_after_s = time.monotonic() + SUMMARY_EVERY_S
        self._summary_stale = False

    def mark_written(self) -> None:
        """Note that events were applied just now: the summary is older than they are."""
        self.written_s = time.monotonic()
        self._summary_stale = True

    def write_end_views(self) -> None:
        """Make the views of a run of which a session has just ended; a failure is logged."""
        # `metrics` takes longest. While other ranks still log, it waits: each rank's end would wait for it.
        later = {"metrics"} if self.writer.open_sessions else set()
        try:
            json_views.write_views(self.writer.folder, set(json_views.NAMES) - later)
        except (OSError, TrackingError) as error:
            logger.error("views of %s were not written: %s", self.writer.folder.name, error)
            return
        self.writer.changed.clear()
        self.writer.changed |= later
        self._summary_stale = False

    def maintain(self) -> bool:
        """Compact the run and make its views, where that is due; return whether the run can be closed.

        Everything that was applied is durable already. So a failure is only logged, and tried again later.
        """
        try:
            return self._maintain()
        except DataDamagedError as error:
            logger.error("the views of %s stay as they were: %s", self.writer.folder.name, error.what)
            self.writer.changed.clear()
            self._summary_stale = False
            self._views_after_s = time.monotonic() + DAMAGED_PAUSE_S
        except (RetryLater, OSError) as error:
            logger.error("%s was not compacted, or its views not made: %s", self.writer.folder.name, error)
        return False

    def _maintain(self) -> bool:
        writer, now = self.writer, time.monotonic()
        if not writer.open_sessions:
            writer.compact()
            writer.flush()
        writer.compact_when_due()
        if self._summary_stale and now > self._summary_after_s:
            writer.changed.add("summary")
        if writer.changed and now > self._views_after_s:
            names = writer.changed | ({"metadata", "summary"} if "end" in writer.changed else set())
            json_views.write_views(writer.folder, names & set(json_views.NAMES))
            writer.changed.clear()
            self._summary_stale = self._summary_stale and "summary" not in names
            spent = time.monotonic() - now
            self._views_after_s = now + VIEW_PAUSE_FACTOR * spent
            self._summary_after_s = now + SUMMARY_EVERY_S + VIEW_PAUSE_FACTOR * spent
        if writer.open_sessions or writer.changed or writer.parts.sweeping:
            return False
        writer.flush()
        return True
