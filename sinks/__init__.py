"""Where a worker delivers to: the contract every sink keeps."""

from neural.tracking.sinks.base import Applier, EventBatch, Item, SessionInfo, SessionMark, SessionNote

__all__ = ["Applier", "EventBatch", "Item", "SessionInfo", "SessionMark", "SessionNote"]
