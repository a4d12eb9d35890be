"""What the benchmarks share: the machine they ran on, percentiles, a table with targets, a noisy neighbour."""

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
    """One figure; ``limit`` is what it must not pass, None where nothing was promised."""

    what: str
    value: float
    unit: str
    limit: float | None = None
    note: str = ""

    @property
    def met(self) -> bool:
        return self.limit is None or self.value <= self.limit


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the sorted values lie."""
    return sorted_values[min(int(len(sorted_values) * share), len(sorted_values) - 1)]


def machine() -> dict[str, Any]:
    """Return what a reader must know to compare figures."""
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
    """Print the figures; return 1 where one passed its limit, else 0."""
    about = machine()
    if as_json:
        figures = [{**row._asdict(), "met": row.met} for row in rows]
        print(json.dumps({"title": title, "machine": about, "figures": figures}, indent=1))
    else:
        print(f"{title}: " + ", ".join(f"{key} {value}" for key, value in about.items()))
        width = max(len(row.what) for row in rows)
        for row in rows:
            limit = "" if row.limit is None else f"{'ok  ' if row.met else 'OVER'} ≤ {row.limit:g}"
            print(f"  {row.what:<{width}}  {row.value:>10.3f} {row.unit:<5} {limit:<14} {row.note}")
    return 0 if all(row.met for row in rows) else 1


@contextlib.contextmanager
def fsyncing_neighbour(folder: Path) -> Iterator[None]:
    """Have another process write and fsync in ``folder`` all the time."""
    script = (
        "import os, sys\n"
        "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "while True:\n"
        "    os.pwrite(fd, os.urandom(1 << 20), 0)\n"
        "    os.fsync(fd)\n"
    )
    path = folder / "neighbour"
    process = subprocess.Popen([sys.executable, "-c", script, str(path)])
    try:
        yield
    finally:
        process.kill()
        process.wait()
        path.unlink(missing_ok=True)
