"""What the demo prints: the progress while the ranks train, then the stored run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from neural.tracking import ExperimentManager, ExperimentTracker

console = Console()


def follow(receivers: Sequence[Connection], epochs: int) -> str | None:
    """Show a progress bar for each rank until all are done; return the run's id, None if the ranks differ."""
    runs: dict[int, str] = {}
    columns = (
        TextColumn("[bold]rank {task.fields[rank]}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("epochs   test loss {task.fields[loss]:.4f}   accuracy {task.fields[accuracy]:.2%}"),
        TimeElapsedColumn(),
    )
    console.print(f"[bold]training[/] on {len(receivers)} processes, logging every step of each into one run")
    with Progress(*columns, console=console) as progress:
        bars = {
            rank: progress.add_task("", total=epochs, rank=rank, loss=float("nan"), accuracy=0.0)
            for rank in range(len(receivers))
        }
        open_pipes = list(receivers)
        while open_pipes:
            for pipe in wait(open_pipes):
                assert isinstance(pipe, Connection)
                try:
                    kind, rank, *news = pipe.recv()
                except EOFError:
                    open_pipes.remove(pipe)
                    continue
                if kind == "run":
                    runs[rank] = news[0]
                elif kind == "epoch":
                    epoch, loss, accuracy = news
                    progress.update(bars[rank], completed=epoch, loss=loss, accuracy=accuracy)
    return runs[0] if len(runs) == len(receivers) and len(set(runs.values())) == 1 else None


def show_run(base_dir: str, experiment_id: str, *, checkpoints: int) -> int:
    """Print the stored run's summary, the paths of its files, and the result of verifying it.

    Returns:
        0, or 1 if the run is not there, or the exit code of a failed verification.
    """
    tracker = ExperimentManager(base_dir).get_experiment(experiment_id)
    if tracker is None:
        console.print(f"[red]run {experiment_id} is not in {base_dir}")
        return 1
    _await_end(tracker, checkpoints)
    best, step = tracker.get_best_metric("test/accuracy")
    folder = Path(tracker.experiment_dir)
    plot = folder / "plots" / "digits.png"
    plot.parent.mkdir(exist_ok=True)
    names = ["train/loss", "test/loss", "train/accuracy", "test/accuracy"]
    tracker.plot_metrics(names).savefig(plot)

    ntrack = [sys.executable, "-m", "neural.tracking.cli"]
    where = ["--base-dir", base_dir]
    console.print()
    subprocess.run([*ntrack, "runs", "show", experiment_id, *where], check=False)
    if best is not None:
        console.print(f"\n[bold green]best test accuracy {best:.2%}[/] at step {step} (mean of all ranks)\n")
    confusion = folder / "plots" / "confusion.png"
    paths = {"run folder": folder, "points": folder / "metrics", "plots": plot, "": confusion}
    for what, path in paths.items():
        console.print(f"[bold]{what:<12}[/]{path}", soft_wrap=True, highlight=False)
    best_version = tracker.get_artifact_version("weights.npy", "best")
    if best_version is not None:
        described = f"version {best_version.version} of {checkpoints} of weights.npy, {best_version.metadata}"
        console.print(f"[bold]{'best weights':<12}[/] {described}", soft_wrap=True, highlight=False)
    _await_sinks([*ntrack, "sinks", "lag", *where])
    console.print("\n[bold]$ ntrack sinks ls[/]", highlight=False)
    subprocess.run([*ntrack, "sinks", "ls", *where], check=False)
    for command in (["artifacts", "verify"], ["verify"]):
        console.print(f"\n[bold]$ ntrack {' '.join(command)}[/] {experiment_id}", highlight=False)
        done = subprocess.run([*ntrack, *command, experiment_id, *where], check=False)
        if done.returncode:
            return done.returncode
    return 0


def _await_end(tracker: ExperimentTracker, checkpoints: int, timeout_s: float = 120.0) -> None:
    """Wait until the collector has stored the end of all ranks and their checkpoints, or the time is over."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if tracker.status != "running" and len(tracker.list_artifact_versions("weights.npy")) == checkpoints:
            return
        time.sleep(0.1)


def _await_sinks(lag: Sequence[str], timeout_s: float = 15.0) -> None:
    """Wait until every sink has everything, or the time is over: no other process waits for sinks."""
    deadline = time.monotonic() + timeout_s
    while subprocess.run(lag, check=False, capture_output=True).returncode and time.monotonic() < deadline:
        time.sleep(0.5)
