"""A wall clock that a test can set. Python imports this module at its start if its folder is on PYTHONPATH.

The file that ``FAULT_CLOCK`` names holds one number of 8 bytes, the clock's offset in nanoseconds; see
``Clock`` in ``tests/faults/harness.py``. ``time.monotonic()`` does not change, as on a real system.
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
