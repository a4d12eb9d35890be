"""``ntrack ui``: the comparison page in the browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from neural.tracking.cli import output


@click.command()
@click.option(
    "--port", "-p", default=8052, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; others need a token.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file only you can read, with the token for other hosts.  [default: $NTRACK_UI_TOKEN]",
)
@click.option("--open", "open_browser", is_flag=True, help="Open it in a browser.")
@click.option("--debug", is_flag=True, help="Show errors of the page's own code in the browser.")
@output.base_dir_option
def ui(base_dir: Path, port: int, host: str, token_file: Path | None, open_browser: bool, debug: bool) -> None:
    """Compare runs in the browser: table, curves, parameters, best values, export.

    It reads the run folders and nothing else; the collector and running trainings do not notice it.
    Stop it with Ctrl+C. Exit code 1 if the port is taken, with the next free one.
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
        console.print("  [dim]Ctrl+C ends it[/]")
        if open_browser:
            webbrowser.open(address)

    folder = resolve_base_dir(base_dir)
    try:
        start_delivery(folder)
        serve(folder, port, host=host, debug=debug, token_file=token_file, ready=ready)
    except (OSError, TrackingError) as error:
        raise output.Failure(str(error)) from error
