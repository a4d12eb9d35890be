"""``ntrack runs plot``: a run's pictures as files."""

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
    "--metric", "-m", "metrics", multiple=True, help="Only these, in one picture; may be a pattern: 'val*'."
)
@click.option(
    "--format", "-f", "kind", type=click.Choice(["png", "svg", "pdf"]), default="png", help="Of the files."
)
@click.option(
    "--output", "-o", "folder", type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write into.  [default: the run's plots/]",
)  # fmt: skip
@click.option("--open", "show", is_flag=True, help="Open what was drawn.")
@output.base_dir_option
def plot_run(
    run: str | None, metrics: tuple[str, ...], kind: str, folder: Path | None, show: bool, base_dir: Path
) -> None:
    """Draw a run's pictures: every metric, all together, their correlation, their distributions.

    RUN is as for `ntrack runs show`. With --metric, one picture of those metrics, train and
    validation in one panel. Prints the files' paths.
    """
    from neural.tracking.figures.run import run_plots, save_plots
    from neural.tracking.figures.saving import FOLDER

    found = one_run(base_dir, run)
    pictures = [_chosen(found, metrics)] if metrics else run_plots(found)
    target = found.folder / FOLDER if folder is None else folder
    try:
        target.mkdir(parents=folder is not None, exist_ok=True)
        paths = list(save_plots(pictures, target, kind=kind).values())
    except OSError as error:
        hint = "write elsewhere with --output" if folder is None else ""
        raise output.Failure(f"cannot write into {target}: {error.strerror or error}", hint=hint) from error
    for path in paths:
        click.echo(path)
    if show:
        click.launch(str(paths[0] if len(paths) == 1 else target))


def _chosen(run: Run, wanted: Sequence[str]) -> Plot:
    """Return the picture of the metrics that the words mean."""
    from neural.tracking.figures.names import most_informative_first
    from neural.tracking.figures.panels import plot_panels
    from neural.tracking.figures.run import read_series, title_of_run
    from neural.tracking.figures.visualizer import Plot

    known = most_informative_first(run.metric_names())
    names: list[str] = []
    for word in wanted:
        matching = [word] if word in known else [name for name in known if fnmatch.fnmatchcase(name, word)]
        if not matching:
            raise output.Failure(f"no metric {word!r} in run {run.id}", hint=_there_are(known, word))
        names += [name for name in matching if name not in names]
    series = read_series(run, names)
    return Plot(_name(names, known), lambda: plot_panels(series, title=title_of_run(run)))


def _name(names: Sequence[str], known: Sequence[str]) -> str:
    """Return the picture's name, another one for each choice of the run's metrics."""
    from neural.tracking.figures.names import file_name

    if len(names) == 1:
        taken: list[str] = []
        for other in sorted(known)[: sorted(known).index(names[0])]:
            taken.append(file_name(f"plot_{other}", taken))
        return file_name(f"plot_{names[0]}", taken)
    which = zlib.crc32("\n".join(names).encode("utf-8", "surrogatepass"))
    return file_name(f"plot_{names[0][:40]}_and_{len(names) - 1}_more_{which:08x}")


def _there_are(known: Sequence[str], word: str) -> str:
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known[:8]) or 'none'}"
