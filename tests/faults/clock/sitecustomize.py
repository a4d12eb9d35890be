"""Imported by Python itself at start when this folder is on PYTHONPATH: a wall clock that a test can set.

The file named by ``FAULT_CLOCK`` holds one number of 8 bytes, nanoseconds that the clock is off; see
``Clock`` in ``tests/faults/harness.py``. ``time.monotonic()`` is left alone, as by any kernel.
"""

import mmap
import os
import time

if "FAULT_CLOCK" in os.environ:
    with open(os.environ["FAULT_CLOCK"], "r+b") as _file:
        _off_ns = memoryview(mmap.mmap(_file.fileno(), 8)).cast("q")
    _time_ns = time.time_ns
    time.time_ns = lambda: _time_ns() + _off_ns[0]
    time.time = lambda: time.time_ns() / 1e9
