"""The check of a run's artifacts: which are intact, damaged, lost, or not stored yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from neural.tracking.artifacts.check import Checker
from neural.tracking.errors import ArtifactDamagedError
from neural.tracking.reader.artifacts import ArtifactCall, Artifacts
from neural.tracking.reader.facts import read_facts


@dataclass
class ArtifactReport:
    """The result of the check. ``whole`` counts intact artifacts; ``damages`` are texts with both digests.

    ``lost`` has name, event number and reason of each lost artifact; ``waiting`` has name and event number of
    each that is not stored yet. ``unread``: damaged lines, which may have named more artifacts.
    """

    whole: int = 0
    damages: list[str] = field(default_factory=list)
    lost: list[tuple[str, int, str]] = field(default_factory=list)
    waiting: list[tuple[str, int]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def check_artifacts(
    run: Path, checker: Checker, begin: Callable[[ArtifactCall], None] = lambda entry: None
) -> ArtifactReport:
    """Check the artifacts in a run folder and return the result. Blocks: reads every byte of them.

    ``begin`` is called with each artifact before its check.

    Raises:
        OSError: the folder cannot be read.
    """
    facts = read_facts(run)
    artifacts = facts.artifacts
    report = ArtifactReport(
        unread=facts.damages,
        lost=[(entry.name, entry.seq, entry.lost or "") for entry in artifacts.lost()],
        waiting=[(entry.name, entry.seq) for entry in artifacts.waiting()],
    )
    for entry in to_check(artifacts):
        begin(entry)
        try:
            checker.check(run, entry)
        except ArtifactDamagedError as error:
            if entry.version is None and _was_replaced(run, entry):
                continue  # a newer call replaced it after the lines were read
            report.damages.append(str(error))
        except OSError as error:
            report.damages.append(f"{entry.path} cannot be read: {error}")
        else:
            report.whole += 1
    return report


def _was_replaced(run: Path, entry: ArtifactCall) -> bool:
    own = [e for e in read_facts(run).artifacts.entries if e.name == entry.name]
    return (own[-1].session, own[-1].seq) != (entry.session, entry.seq)


def to_check(artifacts: Artifacts) -> list[ArtifactCall]:
    """Return every stored version, and each unversioned artifact that is current under ``artifacts/``."""
    found = [entry for name in artifacts.names() for entry in artifacts.versions(name)]
    current = [artifacts.current(name) for name in artifacts.names()]
    return [*found, *(entry for entry in current if entry is not None and entry.version is None)]
