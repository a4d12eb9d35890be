"""The figures of the comparison, as PNG and SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from catalog import OURS, PEERS, SERVERS
from matplotlib import pyplot

from report.summary import Summary

OURS_COLOUR, PEER_COLOUR, BAD_COLOUR = "#1f6feb", "#8b949e", "#d1242f"
DPI = 130


def draw(summary: Summary, folder: Path) -> list[str]:
    """Draw the figures that have data, as PNG and SVG in ``folder``; return their names without a suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update({"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "comparison"})
    drawn = []
    for name, draw_one in (("calls", _calls), ("kill", _kill), ("faults", _faults)):
        figure = draw_one(summary)
        if figure is not None:
            for ending in ("png", "svg"):
                metadata = {"Date": None} if ending == "svg" else {}
                figure.savefig(folder / f"{name}.{ending}", dpi=DPI, bbox_inches="tight", metadata=metadata)
            pyplot.close(figure)
            drawn.append(name)
    return drawn


def _calls(summary: Summary) -> Any:
    """Draw four panels of a call's time: a dot at p50, a line to p99."""
    figure, panels = pyplot.subplots(2, 2, figsize=(9, 6), sharex=True)
    for row, metrics in enumerate((3, 100)):
        for column, (pace, named) in enumerate((("back_to_back", "back to back"), ("paced", "one call a ms"))):
            panel = panels[row][column]
            found = []
            for entry in (OURS, *PEERS):
                p50 = summary.figure("calls", entry.key, pace, "p50", metrics=metrics)
                p99 = summary.figure("calls", entry.key, pace, "p99", metrics=metrics)
                if p50 is not None and p99 is not None:
                    found.append((p50.median, p99.median, entry))
            found.sort(key=lambda item: item[0], reverse=True)
            for at, (p50_us, p99_us, entry) in enumerate(found):
                colour = OURS_COLOUR if entry is OURS else PEER_COLOUR
                panel.plot([p50_us, p99_us], [at, at], color=colour, linewidth=2, solid_capstyle="round")
                panel.plot(p50_us, at, "o", color=colour, markersize=6)
                panel.annotate(
                    _time(p50_us), (p50_us, at), (0, 6), textcoords="offset points", ha="center", fontsize=7
                )
            panel.set_yticks(range(len(found)), [entry.title for _, _, entry in found])
            panel.set_ylim(-0.6, len(found) - 0.2)
            panel.set_xscale("log")
            panel.grid(axis="x", color="#d0d7de", linewidth=0.6)
            panel.set_title(f"{metrics} metrics, {named}", fontsize=9, loc="left")
            panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_xlim(left=0.5)  # for all panels; last, because it switches autoscaling off
    for panel in panels[1]:
        panel.set_xlabel("µs a call: dot p50, line to p99")
    figure.tight_layout()
    return figure


def _kill(summary: Summary) -> Any:
    """Draw the share of the events that were lost when the training was killed."""
    entries = [entry for entry in (OURS, *PEERS) if summary.results("survive", entry.key)]
    if not entries:
        return None
    figure, panel = pyplot.subplots(figsize=(8, 0.45 * len(entries) + 1.2))
    for index, (how, named, colour) in enumerate(
        (
            ("burst", "killed after a burst of calls", BAD_COLOUR),
            ("paced", "killed at one call a ms", "#fb8f44"),
        )
    ):
        shares = []
        for entry in entries:
            found = [r for r in summary.results("survive", entry.key, how=how) if "lost" in r]
            logged = sum(result["logged"] for result in found)
            shares.append(100 * sum(result["lost"] for result in found) / logged if logged else 0.0)
        places = [at + 0.2 - 0.4 * index for at in range(len(entries))]
        bars = panel.barh(places, shares, height=0.36, color=colour, label=named)
        panel.bar_label(bars, [f"{share:.3g} %" if share else "0" for share in shares], padding=3, fontsize=7)
    panel.set_yticks(range(len(entries)), [entry.title for entry in entries])
    panel.invert_yaxis()
    panel.set_xlim(0, 112)
    panel.set_xlabel("% of the events whose call had returned that are lost")
    panel.legend(fontsize=7, frameon=False, loc="lower right")
    panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def _faults(summary: Summary) -> Any:
    """Draw the longest call of each fault."""
    bars = []
    for kind in ("suspended", "killed", "gone"):
        for entry in (OURS, *PEERS, *SERVERS):
            for result in summary.results("faults", entry.key, fault=kind):
                if "failed" not in result:
                    bars.append((f"{entry.title}: {kind}", result, entry))
    if not bars:
        return None
    figure, panel = pyplot.subplots(figsize=(8, 0.36 * len(bars) + 1.2))
    for at, (_, result, entry) in enumerate(bars):
        longest_s = result["max"] / 1e6 if "max" in result else result["given_up_s"]
        label = (
            f"{_time(result['max'])} (p99.9 {_time(result['p99.9'])})"
            if "max" in result
            else f"over {longest_s:.0f} s in {result['in']}"
        )
        if result.get("raised"):
            label += f", {result['raised']} exceptions"
        panel.barh(at, longest_s, color=OURS_COLOUR if entry is OURS else BAD_COLOUR, height=0.6)
        panel.annotate(label, (longest_s, at), (4, 0), textcoords="offset points", va="center", fontsize=7)
    panel.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    panel.invert_yaxis()
    panel.set_xscale("log")
    panel.set_xlim(1e-5, 3e3)
    panel.set_xlabel("longest call, s")
    panel.grid(axis="x", color="#d0d7de", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def _time(us: float) -> str:
    if us < 1000:
        return f"{us:.3g} µs"
    return f"{us / 1e3:.3g} ms" if us < 1e6 else f"{us / 1e6:.3g} s"
