"""Where workers deliver to: the contract every sink keeps, the sinks themselves, and their registry."""

from neural.tracking.sinks.base import Applier, EventBatch, Item, SessionInfo, SessionMark, SessionNote
from neural.tracking.sinks.sink import (
    HoldRun,
    Option,
    RefusedForGood,
    RetryLater,
    RunEvent,
    RunInfo,
    Sink,
    SinkPlace,
    WriteAgain,
)

__all__ = [
    "Applier",
    "EventBatch",
    "HoldRun",
    "Item",
    "Option",
    "RefusedForGood",
    "RetryLater",
    "RunEvent",
    "RunInfo",
    "SessionInfo",
    "SessionMark",
    "SessionNote",
    "Sink",
    "SinkPlace",
    "WriteAgain",
]
