"""``ntrack ui``: the comparison page in the browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from neural.tracking.cli import output


@click.command()
@click.option(
    "--port",
    "-p",
    default=8052,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 for any free port.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; other hosts need a token."
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the token for other hosts; mode 0600.  [default: $NTRACK_UI_TOKEN]",
)
@click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser.")
@click.option("--debug", is_flag=True, help="Show errors of the page's code in the browser.")
@output.base_dir_option
def ui(base_dir: Path, port: int, host: str, token_file: Path | None, open_browser: bool, debug: bool) -> None:
    """Compare runs in the browser: table, curves, parameters, best values, export.

    The page reads only the run folders; it does not affect the collector or running trainings. Stop it with
    Ctrl+C. Exit code 1: the port is taken; the message has the next free port.
    """
    from neural.tracking.api.run_list import start_delivery
    from neural.tracking.errors import TrackingError
    from neural.tracking.formats.run_file import resolve_base_dir
    from neural.tracking.ui.server import serve

    console = output.stdout()

    def ready(address: str) -> None:
        console.print(
            f"[green]●[/] comparing the runs of {output.text(base_dir)} at [bold]{output.text(address)}[/]"
        )
        console.print("  [dim]stop with Ctrl+C[/]")
        if open_browser:
            webbrowser.open(address)

    folder = resolve_base_dir(base_dir)
    try:
        start_delivery(folder)
        serve(folder, port, host=host, debug=debug, token_file=token_file, ready=ready)
    except (OSError, TrackingError) as error:
        raise output.Failure(str(error)) from error
