"""The words of the page: what was done, what the columns say, and where others are better or do more."""

from __future__ import annotations

import time
from collections.abc import Iterator

from catalog import OURS, PEERS

from report.summary import Summary

CALLS = (
    "p50, p99, p99.9 and the longest call, median of the rounds with the least and most in brackets. "
    "b2b: one call after the other. paced: one call a millisecond, as in a training, or as fast as the "
    "tool can. CPU: of the training process and everything it started, from the first call back to back "
    "until all of it is idle after the end, a call."
)
LIFE = (
    "import, start and finish as the tool's own first steps show them; finish after the long run of "
    "100,000 calls of 3 metrics (fewer where that took over 20 s). first → last: median of the first and "
    "the last thousand calls. Memory is the most each process had resident; disk is all that the tool "
    "left in its folder, working files too (of this project also the log, which is reused, and "
    "`metrics.json`, a view of runs of up to 200,000 calls for readers of JSON)."
)
KILL = (
    "The training process sends itself SIGKILL right after its last call returned. What else belongs to "
    "the tool lives on and may finish its work; then the tool's own reader is asked which steps it has."
)
FAULTS = (
    "One call a millisecond, then all processes beside the training are suspended for 20 s, or killed; "
    "gone means that nothing takes their place (a real `mlflow server` that stays down; here a collector "
    "whose lock is held by somebody else). Tools that work in threads of the training process have "
    "nothing that can be taken away; what they lose is in the table above. exceptions: raised out of log "
    "calls and the end."
)
TRAINING = (
    "The demo's two-layer perceptron on the handwritten digits, one process, 3 metrics logged every "
    "step. Steps a second include whatever work the tool does on the same two cores meanwhile."
)


def opening(summary: Summary) -> Iterator[str]:
    """Yield what was done, on what, and what was to be reached."""
    about = summary.about
    machine = about["machine"]
    began = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(about["began"]))
    yield "# Comparison"
    yield ""
    yield (
        "The same work through this project and through what people use today. This page is written by the "
        "benchmark; nothing in it was measured anywhere else."
    )
    yield ""
    yield f"- command: `make compare` (`{about['command']}`), {began}, {about['took_s'] / 60:.0f} minutes"
    yield (
        f"- machine: {machine['cores']} cores ({machine['processor']}), {machine['system']}, "
        f"Python {machine['python']}; load {machine['load']} when it began"
    )
    told = [f"{name} {version}" for found in about["versions"].values() for name, version in found.items()]
    yield f"- versions: {', '.join(dict.fromkeys(told))}"
    yield (
        "- method: each tool in a virtual environment of its own, in turn in every round, the order moved on "
        "by one each round, defaults everywhere but for telemetry, which is off; one benchmark at a time "
        "under a lock; data on the local disk. Plots are off here, since no other tool draws any; "
        "`finish(timeout=5)` is the default outside containers."
    )
    yield from ("", "## What was to be reached", "", "| | | |", "| --- | --- | --- |")
    for target in summary.targets():
        yield f"| {target.what} | {'reached' if target.met else '**not reached**'} | {target.found} |"


def closing(summary: Summary) -> Iterator[str]:
    """Yield where others are better or do more."""
    yield from ("", "## Where others are better", "")
    found = [
        f"- {what}: {title} {theirs.median:.3g}, {OURS.title} {ours.median:.3g}"
        for what, title, theirs, ours in summary.better()
    ]
    yield from found or ["In nothing that was measured here."]
    yield from ("", "## What others do more", "")
    for peer in {peer.module: peer for peer in PEERS}.values():
        yield f"- {peer.title.partition(',')[0]}: {peer.more}"
    yield from ("", "Not measured: anything on a network, pictures and tables, the web pages of the tools.")
