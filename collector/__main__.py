"""``python -m neural.tracking.collector run --base-dir …``: how a collector is spawned."""

from __future__ import annotations

import argparse
import sys

from neural.tracking.collector import commands
from neural.tracking.core.exit_status import EXIT_FAILED
from neural.tracking.errors import TrackingError


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, run the collector, and return the exit code. Blocks until the collector stops."""
    parser = argparse.ArgumentParser(prog="neural.tracking.collector")
    parser.add_argument("command", choices=["run"])
    parser.add_argument("--base-dir", required=True)
    parser.add_argument("--auto", action="store_true", help="leave after some idle minutes")
    parser.add_argument("--idle-exit-s", type=float, default=None)
    parser.add_argument("--listen", default=None, help="tcp://host:port, for trainings on other hosts")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args(arguments)
    try:
        return commands.run(
            given.base_dir,
            auto=given.auto,
            idle_exit_s=given.idle_exit_s,
            verbose=given.verbose,
            listen=given.listen,
        )
    except (TrackingError, OSError) as error:
        sys.stderr.write(f"the collector could not start: {error}\n")
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
