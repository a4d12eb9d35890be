"""Where workers deliver to: the contract every sink keeps, the sinks themselves, and their registry."""

from neural.tracking.sinks.base import (
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
    "HoldRun",
    "Option",
    "RefusedForGood",
    "RetryLater",
    "RunEvent",
    "RunInfo",
    "Sink",
    "SinkPlace",
    "WriteAgain",
]
