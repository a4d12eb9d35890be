"""The exit status of every command, and of the collector."""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_LEFT = 3  # a part is not delivered yet
EXIT_UNREACHABLE = 4
EXIT_INTEGRITY = 6  # something is missing or damaged
