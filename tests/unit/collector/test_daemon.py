"""The order of starting and stopping, and the exit codes."""

import asyncio

from neural.tracking.collector.daemon import Daemon


class FakePart:
    def __init__(self, name, log, *, left=0, breaks=None):
        self.name, self._log, self._left, self._breaks = name, log, left, breaks

    async def start(self):
        if self._breaks == "start":
            raise OSError("no such thing")
        self._log.append(f"start {self.name}")

    async def drain(self, deadline):
        if self._breaks == "drain":
            raise ValueError("cannot")
        self._log.append(f"drain {self.name}")
        return self._left


def run(*parts, fail=None):
    async def life():
        daemon = Daemon(parts, drain_timeout_s=5)
        asyncio.get_running_loop().call_later(0.05, daemon.request_stop)
        if fail:
            asyncio.get_running_loop().call_later(0.01, daemon.fail, fail)
        return await daemon.run()

    return asyncio.run(life())


def test_parts_start_from_the_end_and_drain_from_the_mouth():
    log = []

    code = run(*(FakePart(name, log) for name in ("inbox", "log", "workers")))

    assert log[:3] == ["start workers", "start log", "start inbox"]
    assert log[3:] == ["drain inbox", "drain log", "drain workers"]
    assert code == 0


def test_exit_code_is_3_when_something_is_left(caplog):
    assert run(FakePart("inbox", []), FakePart("log", [], left=7)) == 3
    assert "log stopped with 7 left" in caplog.text


def test_exit_code_is_1_after_a_failure():
    assert run(FakePart("log", []), fail=OSError("disk")) == 1


def test_part_that_breaks_while_draining_does_not_keep_the_others_from_it():
    log = []

    code = run(FakePart("inbox", log, breaks="drain"), FakePart("log", log))

    assert log == ["start log", "drain log"] or log == ["start log", "start inbox", "drain log"]
    assert code == 3


def test_part_that_cannot_start_ends_it_after_the_started_ones_drained():
    log = []

    code = run(FakePart("inbox", log, breaks="start"), FakePart("log", log))

    assert log == ["start log", "drain log"]
    assert code == 1
