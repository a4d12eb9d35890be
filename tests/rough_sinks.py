"""Sinks that fail on request; they are installed as a plugin, as third-party sinks are."""

import ctypes
import json
import os
import time
from pathlib import Path
from typing import ClassVar

from neural.tracking.errors import HoldRun, RefusedForGood, RetryLater, WriteAgain
from neural.tracking.sinks.base import Option
from neural.tracking.sinks.jsonl_sink import JsonlSink

POISON = "poison"
DELETED = "deleted"  # the name of a run that was deleted in the backend


class RoughSink(JsonlSink):
    """Writes lines, unless the file ``<folder>.fault`` names a fault; does ``how`` at a metric "poison"."""

    type = "rough"
    options: ClassVar = {**JsonlSink.options, "how": Option(str, "raise", "what it does at a poisoned event")}
    batch_events = 50
    flush_every_s = 0.3

    def __init__(self, place, *, folder, how):
        super().__init__(place, folder=folder)
        self._fault = Path(folder).with_suffix(".fault")
        self._how = how
        self._refusals = []

    def write(self, events):
        fault = self._fault.read_text() if self._fault.exists() else ""
        if fault == "down":
            raise RetryLater("the backend is down", after_s=0.1)
        if fault == "silent":
            time.sleep(3600)
        if fault == "slow":
            time.sleep(0.02)
        if fault == "without deleted":
            for event in events:
                if event.run.name == DELETED:
                    raise HoldRun(event.run.uid, "it was deleted there", after_s=0.5)
        poisoned = [event for event in events if POISON in event.data]
        if poisoned and self._how in ("name", "name later"):
            super().write([event for event in events if event not in poisoned])
            self._refusals += [(event, "poison is not taken here") for event in poisoned]
            if self._how == "name":
                self._refuse()
            return
        if poisoned:
            self._misbehave()
        super().write(events)

    def _refuse(self):
        named, self._refusals = self._refusals, []
        if named:
            raise RefusedForGood("some of it is not taken here", named)

    def flush(self):
        if self._fault.exists() and self._fault.read_text() == "losing":
            raise WriteAgain("the backend lost it")
        if self._fault.exists() and self._fault.read_text() == "holding":
            raise HoldRun("0" * 32, "a flush that holds")
        super().flush()
        self._refuse()

    def _misbehave(self):
        if self._how == "raise":
            raise ValueError("an unexpected error")
        if self._how == "exit":
            os._exit(9)
        if self._how == "segfault":
            ctypes.string_at(0)
        if self._how == "hang":
            time.sleep(3600)
        if self._how == "refuse":
            raise RefusedForGood("poison is not taken here")
        eaten = []
        while self._how == "eat":
            eaten.append(bytearray(os.urandom(1 << 20) * 32))
            time.sleep(0.05)


class CuriousSink(JsonlSink):
    """Writes each run's ``env`` into a file."""

    type = "curious"

    def _append(self, run, events):
        (self._folder / f"{run.label}.env").write_text(json.dumps(dict(run.env)))
        return super()._append(run, events)


class AbsentSink(JsonlSink):
    """A sink whose backend's package counts as installed once ``<folder>/../installed`` exists."""

    type = "absent"

    def open(self):
        if not (self._folder.parent / "installed").exists():
            raise ModuleNotFoundError("No module named 'absent_backend'")
        super().open()


class ForgetfulSink(JsonlSink):
    """Accepts everything, but its backend returns no points."""

    type = "forgetful"

    def points(self, run):
        return []
