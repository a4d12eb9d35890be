"""Writes ``docs/comparison.md`` with its figures; with ``--quick`` the same in ``.compare``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from catalog import NOTHING, OURS, PEERS, ROOT, SERVERS, Entry
from measures import MAX_FINISH_S

from report import figures, prose
from report.summary import Figure, Summary

EVERYONE = (OURS, *PEERS)
LONG_US = 1000.0  # a longer time is shown in the next larger unit


def write(results: dict[str, Any], *, into_docs: bool) -> int:
    """Write page and figures, print the targets; return 1 if one was not reached, else 0."""
    summary = Summary(results)
    folder = ROOT / "docs" if into_docs else ROOT / ".compare"
    drawn = figures.draw(summary, folder / "comparison")
    page = folder / "comparison.md"
    page.write_text("\n".join(_lines(summary, drawn)) + "\n")
    targets = summary.targets()
    for target in targets:
        print(f"  {'reached    ' if target.met else 'NOT REACHED'} {target.what}: {target.found}")
    print(f"{sum(target.met for target in targets)} of {len(targets)} targets reached; {page}")
    return 0 if all(target.met for target in targets) else 1


def _lines(summary: Summary, drawn: Sequence[str]) -> Iterator[str]:
    yield from prose.opening(summary)
    for metrics in (3, 100):
        yield from ("", f"## A call of {metrics} metrics", "")
        if metrics == 3 and "calls" in drawn:
            yield from ("![Time of a call, by tool and pace](comparison/calls.png)", "")
        yield from _table(
            ["µs", *(f"{pace} {share}" for pace in ("b2b", "paced") for share in SHARES), "CPU"],
            [(entry, _call_cells(summary, entry, metrics)) for entry in EVERYONE],
            summary,
            "calls",
        )
    yield from ("", prose.CALLS, "", "## Start, end, memory, disk", "")
    heads = [
        "",
        "import",
        "start",
        "finish",
        "first → last 1,000 calls",
        "training",
        "beside it",
        "bytes a point",
    ]
    yield from _table(heads, [(entry, _life_cells(summary, entry)) for entry in EVERYONE], summary, "long")
    yield from ("", prose.LIFE, "", "## Killed right after a call returned", "")
    if "kill" in drawn:
        yield from ("![Share of events lost at SIGKILL](comparison/kill.png)", "")
    rows = [(entry, _kill_cells(summary, entry)) for entry in EVERYONE]
    yield from _table(["lost of logged", "after a burst", "at one call a ms"], rows, summary, "survive")
    yield from ("", prose.KILL, "", "## When the processes beside the training fail", "")
    if "faults" in drawn:
        yield from ("![Longest call in each fault](comparison/faults.png)", "")
    yield from _fault_table(summary)
    yield from ("", prose.FAULTS, "", "## A real training loop", "")
    rows = [(entry, _training_cells(summary, entry)) for entry in (NOTHING, *EVERYONE)]
    yield from _table(["", "steps a second", "of the loop without tracking"], rows, summary, "training")
    yield from ("", prose.TRAINING)
    yield from prose.closing(summary)


SHARES = ("p50", "p99", "p99.9", "max")


def _table(
    heads: Sequence[str], rows: Sequence[tuple[Entry, list[str]]], summary: Summary, measure: str
) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "| --- |" + " ---: |" * (len(heads) - 1)
    for entry, cells in rows:
        title = f"**{entry.title}**" if entry is OURS else entry.title
        if not any(cells):
            failure = summary.failure(measure, entry.key)
            if failure is None:
                continue
            cells = [failure, *[""] * (len(heads) - 2)]
        yield "| " + " | ".join([title, *cells]) + " |"


def _call_cells(summary: Summary, entry: Entry, metrics: int) -> list[str]:
    cells = [
        _spread(summary.figure("calls", entry.key, pace, share, metrics=metrics))
        for pace in ("back_to_back", "paced")
        for share in SHARES
    ]
    return [*cells, _spread(summary.figure("calls", entry.key, "cpu_us", metrics=metrics))]


def _life_cells(summary: Summary, entry: Entry) -> list[str]:
    imported = summary.figure("calls", entry.key, "import_s", metrics=3)
    started = summary.figure("calls", entry.key, "start_s", metrics=3)
    finished = summary.figure("long", entry.key, "finish_s")
    found = [result for result in summary.results("long", entry.key) if "growth" in result]
    if not found:
        return []
    first, last = (_short(found[0][key]) for key in ("first_us", "last_us"))
    grown = f"{first} → {last} µs ({found[0]['growth']:.2f} x)"
    if found[0]["calls"] < 100_000:
        grown += f", {found[0]['calls']:,} calls"
    helpers = found[0]["helpers_mb"]
    disk = found[0].get("disk_bytes_a_point")
    return [
        *(f"{figure.median:.2f} s" if figure else "" for figure in (imported, started)),
        f"{finished.median:.2f} s" if finished else f"over {MAX_FINISH_S:.0f} s",
        grown,
        f"{found[0]['trainer_mb']:.0f} MB",
        f"{helpers:.0f} MB" if helpers else "none",
        f"{disk:.1f}" if disk else "",
    ]


def _kill_cells(summary: Summary, entry: Entry) -> list[str]:
    cells = []
    for how in ("burst", "paced"):
        found = [result for result in summary.results("survive", entry.key, how=how) if "lost" in result]
        lost, logged = (sum(result[key] for result in found) for key in ("lost", "logged"))
        cells.append(f"{lost:,} of {logged:,} ({100 * lost / logged:.1f} %)" if logged else "")
    return cells


def _fault_table(summary: Summary) -> Iterator[str]:
    yield "| tool | fault | p50 | p99.9 | longest call | exceptions | finish |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for entry in (*EVERYONE, *SERVERS):
        title = f"**{entry.title}**" if entry is OURS else entry.title
        results = [
            (kind, result)
            for kind in ("suspended", "killed", "gone")
            for result in summary.results("faults", entry.key, fault=kind)
        ]
        if not results and entry.beside == "threads":
            yield f"| {title} | no process beside the training | | | | | |"
        for kind, result in results:
            yield f"| {title} | {kind} | {' | '.join(_fault_cells(result))} |"


def _fault_cells(result: dict[str, Any]) -> list[str]:
    if "failed" in result:
        return [result["failed"], "", "", "", ""]
    if "max" not in result:
        return ["", "", f"{result['in']}: no return after {result['given_up_s']:.0f} s", "", ""]
    first = f": {result['first_raised'][0][:70].replace('|', ' ')}" if result["first_raised"] else ""
    times = [_time(result[share]) for share in ("p50", "p99.9", "max")]
    return [*times, f"{result['raised']}{first}", f"{result['finish_s']:.2f} s"]


def _training_cells(summary: Summary, entry: Entry) -> list[str]:
    figure = summary.figure("training", entry.key, "steps_a_second")
    alone = summary.figure("training", NOTHING.key, "steps_a_second")
    if figure is None or alone is None:
        return []
    return [
        f"{figure.median:,.0f} ({figure.low:,.0f} to {figure.high:,.0f})",
        f"{figure.median / alone.median:.1%}",
    ]


def _spread(figure: Figure | None) -> str:
    """Return the median, and in brackets minimum and maximum, in the unit of the table."""
    if figure is None:
        return ""
    if figure.low == figure.high:
        return _short(figure.median)
    return f"{_short(figure.median)} ({_short(figure.low)}-{_short(figure.high)})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _time(us: float) -> str:
    if us < LONG_US:
        return f"{us:.3g} µs"
    return f"{us / 1e3:.3g} ms" if us < 1e6 else f"{us / 1e6:.3g} s"
