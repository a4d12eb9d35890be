"""The backends to which workers deliver runs: the contract of a sink, the sinks, and their registry."""

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
