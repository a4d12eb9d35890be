"""Sessions in processes of their own, and the outboxes that they leave."""

import subprocess
import sys
from pathlib import Path

from neural.tracking.core.config import AgentConfig
from neural.tracking.state import outbox_files as outbox_files
from neural.tracking.state.paths import State
from tests.patience import PATIENCE_S
from tests.unit.agent.made import recover

ROOT = Path(__file__).parents[3]
OFFLINE = AgentConfig(mode="offline")

# The start of every script: a session without a collector, so that its outbox remains.
PROLOGUE = """
import os, sys, time
from neural.tracking.agent import choose_run, open_session
from neural.tracking.core.config import AgentConfig
base = sys.argv[1]
session = open_session(choose_run("probe", {}), base, config=AgentConfig(mode="offline"))
"""


def run_script(script, *arguments, check=True, prologue=PROLOGUE):
    """Run ``script`` in a new interpreter, like a training; return the finished process."""
    done = subprocess.run(
        [sys.executable, "-c", prologue + script, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE_S,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def outboxes(base_dir):
    """Return (events, losses) of every outbox by role; assert that roles are unique."""
    found = {}
    for folder in State.for_base_dir(base_dir).outbox.glob("[!.]*"):  # without incomplete ones
        role = outbox_files.read_info(folder).info["role"]
        assert role not in found
        found[role] = recover(folder)
    return found


def values(events, name):
    """Return the values of one metric in the order of their numbers."""
    return [content[name] for _, _, content in events if name in content]
