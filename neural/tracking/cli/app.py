"""The command tree. Only click is imported before a command is chosen."""

from __future__ import annotations

import difflib
import importlib
import shlex

import click

from neural.tracking import __version__
from neural.tracking.errors import DataDamagedError, TrackingError

# name: (module, line in the list of commands)
_COMMANDS = {
    "status": ("status", "Show what the collector does and what waits for it."),
    "runs": ("runs", "List, show, plot, remove and rebuild runs."),
    "metrics": ("metrics", "Print a run's metrics as a table, JSON or CSV."),
    "artifacts": ("artifacts", "List, copy, verify and prune the artifacts of runs."),
    "sinks": ("sinks", "Manage sinks, which deliver runs to MLflow, W&B and others."),
    "ui": ("ui", "Compare runs in the browser."),
    "verify": ("verify", "Prove that every event is stored, or list what is missing."),
    "doctor": ("doctor", "Find problems of this machine and folder."),
    "collector": ("collector", "Start, stop and show the collector."),
    "keys": ("keys", "Manage keys for trainings and collectors on other hosts."),
    "outbox": ("outbox", "Show and ship events that wait for a collector on another host."),
}
_RUNS = {
    "ls": ("runs:list_runs", "List the runs, newest first."),
    "show": ("runs:show_run", "Show one run: its parameters, metrics and texts."),
    "plot": ("plot:plot_run", "Draw the plots of a run."),
    "rm": ("runs:remove_runs", "Remove runs with all their files."),
    "rebuild": ("rebuild:rebuild_runs", "Make the views of runs again from the stored events and points."),
}

_ARTIFACTS = {
    "ls": ("artifacts:list_artifacts", "List a run's artifacts, newest version first."),
    "get": ("artifacts:get_artifact", "Copy one version of an artifact out of a run."),
    "verify": ("artifacts:verify_artifacts", "Check every version against its SHA-256."),
    "prune": ("prune:prune_artifacts", "Remove old versions and blobs that no run refers to."),
}


class LazyGroup(click.Group):
    """A group that imports a command when it runs or shows its help."""

    def __init__(self, *args: object, lazy: dict[str, tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands; imports none."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None for an unknown name."""
        if cmd_name not in self._lazy:
            return None
        if cmd_name in ("runs", "artifacts"):
            return runs if cmd_name == "runs" else artifacts
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        loaded = importlib.import_module(f"neural.tracking.cli.{module}")
        command: click.Command = getattr(loaded, attribute or cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands into the help text; imports none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._lazy.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of the arguments; the UsageError for an unknown name suggests a similar one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self._lazy, n=1)
            if near and not args[0].startswith("-"):
                raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from None
            raise


class RootGroup(LazyGroup):
    """The root command: turns the errors of all commands into a message and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; raises Failure for TrackingError and OSError."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # click ends without a message
            raise
        except DataDamagedError as error:
            from neural.tracking.cli.output import Failure
            from neural.tracking.core.exit_status import EXIT_INTEGRITY

            hint = f"run `ntrack verify {shlex.quote(str(error.folder))}` for a list of all damage"
            raise Failure(error.what, hint=hint, code=EXIT_INTEGRITY) from error
        except (TrackingError, OSError) as error:
            from neural.tracking.cli.output import Failure

            raise Failure(str(error), hint="run `ntrack doctor` to find the cause") from error


@click.group(cls=RootGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ntrack")
def main() -> None:
    """Show runs and the collector that stores them, and verify that nothing is missing.

    Exit codes: 0 success, 1 failure, 2 wrong usage, 3 something is not done yet, 4 no collector answers,
    6 something that was emitted is missing, stored twice or damaged.
    """


@click.group(cls=LazyGroup, lazy=_RUNS)
def runs() -> None:
    """List, show, plot, remove and rebuild runs."""


@click.group(cls=LazyGroup, lazy=_ARTIFACTS)
def artifacts() -> None:
    """List, copy, verify and prune the artifacts of runs."""
