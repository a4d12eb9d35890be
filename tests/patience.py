"""How long a test waits before it calls something hung: far longer than any of it takes on a busy machine.

A deadline that is near makes a test of the machine. Where a time is itself what is promised, the test names it.
"""

PATIENCE_S = 120.0
