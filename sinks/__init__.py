"""Where a worker delivers to: the contract every sink keeps."""

from neural.tracking.sinks.base import EventBatch, Item, SessionInfo, SessionMark, SessionNote, Sink

__all__ = ["EventBatch", "Item", "SessionInfo", "SessionMark", "SessionNote", "Sink"]
