"""The comparison page in the browser: ``python neural/tracking/comparison_ui.py --port 8052``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neural.tracking.manager import ExperimentManager

DEFAULT_PORT = 8052


class ExperimentComparisonUI:
    """A web page that compares the runs of a manager's folder."""

    def __init__(self, manager: ExperimentManager | None = None, port: int = DEFAULT_PORT) -> None:
        """Take the runs of ``manager``, by default those of the default folder. Does not start the page.

        Args:
            manager: the manager of the runs to show.
            port: the port of the page; 0 takes any free one.
        """
        if manager is None:
            from neural.tracking.manager import ExperimentManager

            manager = ExperimentManager()
        self.manager = manager
        self.port = port

    def run(
        self, debug: bool = False, host: str = "127.0.0.1", *, token_file: str | os.PathLike[str] | None = None
    ) -> None:
        """Serve the page until interrupted, and print its address.

        Args:
            debug: show errors of the page's own code in the browser.
            host: the address to listen on. Any address but this computer's own needs a token of at least 16
                characters, in ``NTRACK_UI_TOKEN`` or in a file that only you can read.
            token_file: that file.

        Raises:
            ConfigError: another host without a token, or the ``ui`` extra is not installed.
            PortTakenError: another program listens on the port; its ``next_free`` is a free one.

        Blocks: until interrupted (Ctrl+C or SIGTERM).
        """
        from neural.tracking.ui.server import serve

        serve(
            self.manager.base_dir,
            self.port,
            host=host,
            debug=debug,
            token_file=None if token_file is None else Path(token_file),
            ready=lambda address: print(f"comparing runs at {address}  (Ctrl+C ends it)", flush=True),  # noqa: T201
        )


def launch_comparison_ui(
    port: int = DEFAULT_PORT,
    base_dir: str | os.PathLike[str] | None = None,
    *,
    debug: bool = False,
    host: str = "127.0.0.1",
    token_file: str | os.PathLike[str] | None = None,
) -> None:
    """Serve the page of the runs of ``base_dir``; arguments, errors: :meth:`ExperimentComparisonUI.run`.

    Blocks until interrupted.
    """
    from neural.tracking.manager import ExperimentManager

    ExperimentComparisonUI(ExperimentManager(base_dir), port).run(debug, host, token_file=token_file)


def _as_script() -> None:
    # When this file runs as a script, Python puts its folder first on sys.path. There the short names of our
    # modules (manager, errors ...) would hide modules of other packages.
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    root = here.parents[1]
    if root.joinpath("neural", "tracking").is_dir() and str(root) not in sys.path:
        sys.path.append(str(root))
    from neural.tracking.cli.ui import ui

    ui(prog_name="comparison_ui.py")


if __name__ == "__main__":
    _as_script()
