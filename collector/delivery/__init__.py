"""A sink's worker: what lies between the log and a sink.

:mod:`~neural.tracking.collector.delivery.applier` is the way of an event: which runs it is for, in
order and once; ``batch`` calls the sink, isolates what it refuses or dies of; ``letters`` keeps that;
``trying`` remembers over a death what was being delivered; ``runs`` keeps each run's share.
"""

from neural.tracking.collector.delivery.applier import SinkApplier

__all__ = ["SinkApplier"]
