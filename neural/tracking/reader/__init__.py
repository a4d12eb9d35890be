"""What a run folder holds, and reading it: the one way for tracker, manager, command line and store.

:mod:`~neural.tracking.reader.run` is the front. Behind it ``points``, ``parts``, ``tails``, ``rows`` and
``history`` read the metrics; ``facts`` and ``eventlines`` everything else that was logged; ``ledgers``
and ``vouched`` what a collector's store made durable; ``summary`` and ``views`` what is shown of it;
``unstored`` what is on its way. Nothing is imported here: the collector needs a few of them only.
"""
