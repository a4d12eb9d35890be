"""Figures of metrics: reduced series in, matplotlib figures out; matplotlib is imported at first use.

``series`` reduces a metric to what can be seen of it; ``individual``, ``combined``, ``correlation``,
``distribution`` and ``panels`` draw a run, ``comparison``, ``parameters`` and ``best`` several of them;
``visualizer`` puts a run's set together, ``run`` reads it and saves it.
"""
