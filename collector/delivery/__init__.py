"""A sink's worker: what lies between the log and a sink.

:mod:`~neural.tracking.collector.delivery.applier` is the way of an event: which runs it is for, in
order and once; ``outgoing`` hands it on, in batches or alone; ``border`` calls the sink; ``letters`` keeps
what it refuses or dies of; ``holds``, which runs it does not take as things are; ``trying`` remembers
over a death what was being delivered; ``runs`` keeps each run's share.
"""

from neural.tracking.collector.delivery.applier import SinkApplier

__all__ = ["SinkApplier"]
