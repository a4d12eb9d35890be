"""Runs inside the training process: packs events, keeps them in the outbox and sends them to the collector.

The low-level interface, for code that emits events without a tracker: call :func:`choose_run`, then
:func:`open_session`.
"""

from neural.tracking.agent.run_identity import RunIdentity, choose_run
from neural.tracking.agent.send.launcher import launch_collector
from neural.tracking.agent.session import Session, open_session

__all__ = ["RunIdentity", "Session", "choose_run", "launch_collector", "open_session"]
