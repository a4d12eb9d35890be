"""The command tree. Nothing heavier than click is imported before a command is chosen."""

from __future__ import annotations

import difflib
import importlib
import shlex

import click

from neural.tracking import __version__
from neural.tracking.errors import DataDamagedError, TrackingError

# name: (module, one line for the list of commands)
_COMMANDS = {
    "status": ("status", "What the collector is doing, and what waits for it."),
    "runs": ("runs", "List, show, draw, remove and rebuild runs."),
    "metrics": ("metrics", "Print a run's metrics as a table, JSON or CSV."),
    "artifacts": ("artifacts", "List, copy out, check and prune what runs keep."),
    "sinks": ("sinks", "Say where runs are delivered to beside their folders; look at how that goes."),
    "ui": ("ui", "Compare runs in the browser."),
    "verify": ("verify", "Prove that everything emitted is stored, or name what is not."),
    "doctor": ("doctor", "Look for what is wrong here, and say what to do."),
    "collector": ("collector", "Start, stop and look at the collector."),
    "keys": ("keys", "Let trainings on other hosts in, and connect to collectors there."),
    "outbox": ("outbox", "Look at what waits here for a collector on another host, and ship it."),
}
_RUNS = {
    "ls": ("runs:list_runs", "List the runs, newest first."),
    "show": ("runs:show_run", "Show one run: what it is, its parameters, its metrics."),
    "plot": ("plot:plot_run", "Draw a run's pictures."),
    "rm": ("runs:remove_runs", "Remove runs, with all their files."),
    "rebuild": ("rebuild:rebuild_runs", "Make every view of a run anew from its truth."),
}

_ARTIFACTS = {
    "ls": ("artifacts:list_artifacts", "List a run's artifacts, newest version first."),
    "get": ("artifacts:get_artifact", "Copy one version out of a run, checked."),
    "verify": ("artifacts:verify_artifacts", "Hold every version against its SHA-256."),
    "prune": ("prune:prune_artifacts", "Remove old versions, and bytes no run refers to."),
}


class LazyGroup(click.Group):
    """A group that imports a command only when it is run, or its own help is asked for."""

    def __init__(self, *args: object, lazy: dict[str, tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        if cmd_name in ("runs", "artifacts"):
            return runs if cmd_name == "runs" else artifacts
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        loaded = importlib.import_module(f"neural.tracking.cli.{module}")
        command: click.Command = getattr(loaded, attribute or cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._lazy.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self._lazy, n=1)
            if near and not args[0].startswith("-"):
                raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from None
            raise


class RootGroup(LazyGroup):
    """All of them: what a command could not know better than the part that failed is told, not traced."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # click leaves quietly
            raise
        except DataDamagedError as error:
            from neural.tracking.cli.output import Failure
            from neural.tracking.core.exit_status import EXIT_INTEGRITY

            hint = f"`ntrack verify {shlex.quote(str(error.folder))}` names all of it"
            raise Failure(error.what, hint=hint, code=EXIT_INTEGRITY) from error
        except (TrackingError, OSError) as error:
            from neural.tracking.cli.output import Failure

            raise Failure(str(error), hint="`ntrack doctor` says more") from error


@click.group(cls=RootGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ntrack")
def main() -> None:
    """Look at runs, at the collector that stores them, and at whether all of it is there.

    Exit codes: 0 all is well, 1 failed, 2 wrong usage, 3 something is left to do, 4 no collector
    answers, 6 something that was emitted is missing or doubled.
    """


@click.group(cls=LazyGroup, lazy=_RUNS)
def runs() -> None:
    """List, show, draw, remove and rebuild runs."""


@click.group(cls=LazyGroup, lazy=_ARTIFACTS)
def artifacts() -> None:
    """List, copy out, check and prune the files that runs keep."""
