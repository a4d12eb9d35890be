"""The store: builds run folders from the log."""

from neural.tracking.collector.store.sink import StoreSink

__all__ = ["StoreSink"]
