"""Figures of metrics: from reduced series to matplotlib figures. The first use imports matplotlib.

``series`` reduces a metric to what a figure can show; ``individual``, ``combined``, ``correlation``,
``distribution`` and ``panels`` draw a run, ``comparison``, ``parameters`` and ``best`` several of them;
``visualizer`` lists the plots of a run, ``run`` reads the run and saves the plots.
"""
