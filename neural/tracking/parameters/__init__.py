"""How whatever people pass as parameters becomes plain values: see :mod:`neural.tracking.params`."""
