"""Reads run folders: the same code for tracker, manager, command line, sinks and store.

:mod:`~neural.tracking.reader.run` is the interface. It uses ``points``, ``part_list``, ``rows`` and ``history``
for metrics, and ``facts`` and ``artifacts`` for everything else that was logged. ``ledger_check`` compares
files with ledgers, ``json_views`` makes the views, ``with_outbox`` adds events that are not stored yet. Nothing
is imported here, because the collector needs only a few of these modules.
"""
