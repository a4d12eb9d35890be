"""``ntrack runs plot``: draws the plots of a run into files."""

from __future__ import annotations

import fnmatch
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from neural.tracking.cli import output
from neural.tracking.cli.select import one_run

if TYPE_CHECKING:
    from neural.tracking.figures.visualizer import Plot
    from neural.tracking.reader.run import Run


@click.command(name="plot")
@click.argument("run", required=False)
@click.option(
    "--metric", "-m", "metrics", multiple=True, help="Plot only this metric or pattern ('val*'); repeatable."
)
@click.option(
    "--format",
    "-f",
    "kind",
    type=click.Choice(["png", "svg", "pdf"]),
    default="png",
    help="Format of the files.",
)
@click.option(
    "--output", "-o", "folder", type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files.  [default: the run's plots/]",
)  # fmt: skip
@click.option("--open", "show", is_flag=True, help="Open the plots.")
@output.base_dir_option
def plot_run(
    run: str | None, metrics: tuple[str, ...], kind: str, folder: Path | None, show: bool, base_dir: Path
) -> None:
    """Draw the plots of a run: each metric, all metrics together, correlations, distributions.

    RUN is as for `ntrack runs show`. With --metric, draw one plot of these metrics, with train and
    validation in one panel. Prints the paths of the files.
    """
    from neural.tracking.figures.run import run_plots, save_plots
    from neural.tracking.figures.saving import FOLDER

    found = one_run(base_dir, run)
    plots = [_chosen(found, metrics)] if metrics else run_plots(found)
    target = found.folder / FOLDER if folder is None else folder
    try:
        target.mkdir(parents=folder is not None, exist_ok=True)
        paths = list(save_plots(plots, target, kind=kind).values())
    except OSError as error:
        hint = "set --output to another folder" if folder is None else ""
        raise output.Failure(f"cannot write into {target}: {error.strerror or error}", hint=hint) from error
    for path in paths:
        click.echo(path)
    if show:
        click.launch(str(paths[0] if len(paths) == 1 else target))


def _chosen(run: Run, wanted: Sequence[str]) -> Plot:
    """Return the plot of the metrics that match the names or patterns."""
    from neural.tracking.figures.names import most_informative_first
    from neural.tracking.figures.panels import plot_panels
    from neural.tracking.figures.run import read_series, title_of_run
    from neural.tracking.figures.visualizer import Plot

    known = most_informative_first(run.metric_names())
    names: list[str] = []
    for word in wanted:
        matching = [word] if word in known else [name for name in known if fnmatch.fnmatchcase(name, word)]
        if not matching:
            raise output.Failure(f"no metric {word!r} in run {run.id}", hint=_known_metrics(known, word))
        names += [name for name in matching if name not in names]
    series = read_series(run, names)
    return Plot(_name(names, known), lambda: plot_panels(series, title=title_of_run(run)))


def _name(names: Sequence[str], known: Sequence[str]) -> str:
    """Return the name of the plot, a different one for each selection of metrics."""
    from neural.tracking.figures.names import file_name

    if len(names) == 1:
        taken: list[str] = []
        for other in sorted(known)[: sorted(known).index(names[0])]:
            taken.append(file_name(f"plot_{other}", taken))
        return file_name(f"plot_{names[0]}", taken)
    which = zlib.crc32("\n".join(names).encode("utf-8", "surrogatepass"))
    return file_name(f"plot_{names[0][:40]}_and_{len(names) - 1}_more_{which:08x}")


def _known_metrics(known: Sequence[str], word: str) -> str:
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"its metrics: {', '.join(known[:8]) or 'none'}"
