"""Makes a durable job of each artifact event, before the ledger counts the event as stored."""

from __future__ import annotations

import logging

from neural.tracking.collector.store.run_writer import RunWriter
from neural.tracking.errors import FormatError, RetryLater
from neural.tracking.state import artifact_jobs
from neural.tracking.state.paths import State

logger = logging.getLogger(__name__)


def make_jobs(state: State, writer: RunWriter) -> None:
    """Make a job of each artifact event that was applied since the last call. Blocks on the disk.

    Raises:
        RetryLater: not all jobs were made; call again, or apply the same events again.
    """
    while writer.artifacts:
        session, event = writer.artifacts[0]
        owner = (session.uid, writer.folder.name, session.session.hex())
        try:
            artifact_jobs.write(
                state, artifact_jobs.make(*owner, event.seq, event.time_ns, session.info, event.data)
            )
        except FormatError as error:
            logger.error("%s: %s", writer.folder.name, error)
        except OSError as error:
            raise RetryLater(f"cannot write the job of an artifact: {error}") from error
        del writer.artifacts[0]
