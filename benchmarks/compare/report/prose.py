"""The text of the page: the method, the columns, and where other tools are better or offer more."""

from __future__ import annotations

import time
from collections.abc import Iterator

from catalog import OURS, PEERS

from report.summary import Summary

CALLS = (
    "p50, p99, p99.9 and the longest call: the median of the rounds, minimum and maximum in brackets. b2b "
    "(back to back): calls without a pause. paced: one call a millisecond, as in a training, or as fast as "
    "the tool can. CPU: the CPU time for each call, of the training process and all processes that it "
    "started, from the first call back to back until all of them are idle after the finish."
)
LIFE = (
    "import, start and finish: as in the tool's own first example. finish: after the long run of 100,000 "
    "calls of 3 metrics (fewer if they took over 20 s). first → last: the median of the first and of the "
    "last thousand calls. training, beside it: the maximum resident memory of the training process, and of "
    "the other processes. bytes a point: all that the tool left in its folder, including working files (for "
    "this project also the log, which is reused, and `metrics.json`, a view for readers of JSON that runs "
    "of up to 200,000 calls have)."
)
KILL = (
    "The training process sends itself SIGKILL right after its last call returned. The tool's other "
    "processes continue and may finish their work. Then the tool's own reader reads the stored steps."
)
FAULTS = (
    "The training makes one call a millisecond. suspended: all processes beside it are suspended for 20 s. "
    "killed: they are killed. gone: they are killed and nothing replaces them (a real `mlflow server` that "
    "remains down; for this project a collector whose lock another process holds). Tools that work in "
    "threads of the training process have no such processes; the table above shows what they lose at a "
    "kill. exceptions: raised by log calls and by the finish."
)
TRAINING = (
    "The demo's two-layer perceptron on the handwritten digits, in one process that logs 3 metrics at every "
    "step. The tool's other work runs on the same cores at the same time."
)


def opening(summary: Summary) -> Iterator[str]:
    """Yield the method, the machine and the targets."""
    about = summary.about
    machine = about["machine"]
    began = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(about["began"]))
    yield "# Comparison"
    yield ""
    yield (
        "The same work with this project and with other trackers in use today. The benchmark writes this page "
        "from its own measurements."
    )
    yield ""
    yield f"- command: `make compare` (`{about['command']}`), {began}, {about['took_s'] / 60:.0f} minutes"
    yield (
        f"- machine: {machine['cores']} cores ({machine['processor']}), {machine['system']}, "
        f"Python {machine['python']}; load {machine['load']} at the start"
    )
    installed = [f"{name} {version}" for found in about["versions"].values() for name, version in found.items()]
    yield f"- versions: {', '.join(dict.fromkeys(installed))}"
    yield (
        "- method: each tool has a virtual environment of its own. The tools run in turn in every round, and "
        "each round starts with the next tool. All settings are defaults, except that telemetry is off. One "
        "benchmark runs at a time, under a lock. Data is on the local disk. Our plots are off, because no "
        "other tool draws any; `finish(timeout=5)` is our default outside containers."
    )
    yield from ("", "## Targets", "", "| | | |", "| --- | --- | --- |")
    for target in summary.targets():
        yield f"| {target.what} | {'reached' if target.met else '**not reached**'} | {target.found} |"


def closing(summary: Summary) -> Iterator[str]:
    """Yield where other tools are better or offer more."""
    yield from ("", "## Where others are better", "")
    found = [
        f"- {what}: {title} {theirs.median:.3g}, {OURS.title} {ours.median:.3g}"
        for what, title, theirs, ours in summary.better()
    ]
    yield from found or ["In no measured figure."]
    yield from ("", "## What others offer beyond this", "")
    for peer in {peer.module: peer for peer in PEERS}.values():
        yield f"- {peer.title.partition(',')[0]}: {peer.more}"
    yield from ("", "Not measured: work over a network, images and tables, the tools' web pages.")
