"""Shared by the benchmarks: machine, percentiles, a table with targets, a process that syncs all the time."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = ("neural-tracking", "numpy", "pyzmq", "msgpack", "pyarrow")


class Row(NamedTuple):
    """One figure and its target: at most ``limit``, at least ``least``; without both there is no target."""

    what: str
    value: float
    unit: str
    limit: float | None = None
    note: str = ""
    least: float | None = None

    @property
    def met(self) -> bool:
        """Whether the figure reaches its target; True without a target."""
        if self.limit is not None and self.value > self.limit:
            return False
        return self.least is None or self.value >= self.least

    @property
    def target(self) -> str:
        """The target and whether the figure reaches it, as text; empty without a target."""
        if self.limit is None and self.least is None:
            return ""
        wanted = f"<= {self.limit:,g}" if self.limit is not None else f">= {self.least:,g}"
        return f"{wanted}: {'reached' if self.met else 'NOT REACHED'}"


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` (0 to 1) of the sorted values are."""
    return sorted_values[min(int(len(sorted_values) * share), len(sorted_values) - 1)]


def machine() -> dict[str, Any]:
    """Return the machine, its load and the versions, which a reader needs to compare figures."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        **versions,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def report(title: str, rows: Sequence[Row], *, as_json: bool) -> int:
    """Print the figures; return 1 if a target was not reached, else 0."""
    about = machine()
    if as_json:
        figures = [{**row._asdict(), "met": row.met} for row in rows]
        print(json.dumps({"title": title, "machine": about, "figures": figures}, indent=1))
    else:
        print(f"{title}: " + ", ".join(f"{key} {value}" for key, value in about.items()))
        width = max(len(row.what) for row in rows)
        for row in rows:
            value = f"{row.value:,.0f}" if row.value >= 10_000 else f"{row.value:.3f}"
            print(f"  {row.what:<{width}}  {value:>10} {row.unit:<8} {row.target:<24} {row.note}".rstrip())
        targets = [row for row in rows if row.target]
        print(f"  {sum(row.met for row in targets)} of {len(targets)} targets reached")
    return 0 if all(row.met for row in rows) else 1


@contextlib.contextmanager
def fsyncing_process(folder: Path) -> Iterator[None]:
    """Run a process that writes and fsyncs in ``folder`` without a pause."""
    script = (
        "import os, sys\n"
        "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "while True:\n"
        "    os.pwrite(fd, os.urandom(1 << 20), 0)\n"
        "    os.fsync(fd)\n"
    )
    path = folder / "fsynced"
    process = subprocess.Popen([sys.executable, "-c", script, str(path)])
    try:
        yield
    finally:
        process.kill()
        process.wait()
        path.unlink(missing_ok=True)
