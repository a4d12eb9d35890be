"""Workers, here small scripts: fed, restarted, ended, asked to stop."""

import asyncio
import sys
import time

import psutil

from neural.tracking.collector.log.sessions import START, Position, Sessions
from neural.tracking.collector.workers.specs import WorkerSpec
from neural.tracking.collector.workers.supervisor import Supervisor
from neural.tracking.collector.workers.worker_process import MAX_UNREAD_BYTES
from neural.tracking.core import files
from neural.tracking.state.paths import State
from tests.patience import PATIENCE_S

SEGMENT = b"l" * 16

OBEDIENT = """
import json, sys
print(json.dumps({"pid": 1}), flush=True)
for line in sys.stdin:
    told = json.loads(line)
    if "durable" in told:
        print(json.dumps({"applied": told["durable"]}), flush=True)
        print(json.dumps({"synced": told["durable"]}), flush=True)
    if "sync" in told:
        print(json.dumps({"token": told["sync"]}), flush=True)
"""
HOLDING = OBEDIENT.replace(
    "for line", 'print(json.dumps({"about": {"state": "holding"}}), flush=True)\nfor line'
)
DYING = "import sys; sys.stdin.readline(); sys.exit('no use')"
RUDE = """
import sys
print("not json", flush=True)
print('{"applied": ["zz", 1]}', flush=True)
print('{"applied": 7}', flush=True)
print("x" * 3000000, flush=True)
print('{"error": "backend is down"}', flush=True)
sys.stdin.read()
"""
STUCK = "import sys; sys.stdin.read(); sys.exit(3)"
DEAF = "import time; time.sleep(600)"
HEIR = f"""
import json, sys
print(json.dumps({{"synced": ["{SEGMENT.hex()}", 200]}}), flush=True)
sys.stdin.read()
"""


def at(offset):
    return Position(1, offset, SEGMENT)


class Bench:
    def __init__(self, folder, script, **more):
        self.applied = []
        scripts = script if isinstance(script, dict) else {}
        state = State(base_dir=folder, root=folder)
        self.supervisor = Supervisor(
            state,
            Sessions(),
            locate=lambda uuid: 1 if uuid == SEGMENT else None,
            on_applied=self.applied.append,
            command=lambda spec, state: [sys.executable, "-c", scripts.get(spec.name, script)],
            **more,
        )

    async def __aenter__(self):
        await self.supervisor.start()
        self.supervisor.on_log_recovered(at(64))
        return self

    async def __aexit__(self, *_):
        await self.supervisor.drain(time.monotonic() + 2)

    def status(self):
        return self.supervisor.status()[0]

    async def until(self, condition, timeout_s=PATIENCE_S):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)


def test_worker_is_told_what_is_durable_and_heard_what_it_applied(tmp_path):
    async def scenario():
        async with Bench(tmp_path, OBEDIENT) as bench:
            assert bench.status()["pid"] is None
            bench.supervisor.on_committed(at(200))
            await bench.until(lambda: bench.applied[-1] == at(200))
            await bench.until(lambda: bench.supervisor.synced() == at(200))
            assert not bench.supervisor.undelivered()

    asyncio.run(scenario())


def test_worker_that_begins_where_its_predecessor_saved_at_the_last_moment_has_applied_all_that(tmp_path):
    async def scenario():
        async with Bench(tmp_path, HEIR) as bench:  # the cursor was read as 64 bytes, and is at 200 now
            bench.supervisor.on_committed(at(200))
            await bench.until(lambda: bench.applied[-1] == at(200))

    asyncio.run(scenario())


def test_worker_that_did_not_read_for_long_hears_the_last_position(tmp_path):
    reads, waits = (
        tmp_path / "reads",
        f"import pathlib, time\nwhile not pathlib.Path('{tmp_path}/reads').exists():",
    )

    async def scenario():
        async with Bench(tmp_path, f"{waits}\n    time.sleep(0.01)\n{OBEDIENT}") as bench:
            bench.supervisor.on_committed(at(200))
            await bench.until(lambda: bench.status()["pid"])
            bench.supervisor.broadcast({"filling": "x" * (2 * MAX_UNREAD_BYTES)})
            bench.supervisor.on_committed(at(300))
            await asyncio.sleep(0.1)  # meanwhile it is not notified: nothing more is written to the pipe
            reads.touch()
            await bench.until(lambda: bench.applied[-1] == at(300))

    asyncio.run(scenario())


def test_worker_that_dies_starts_again_and_is_counted(tmp_path, caplog):
    async def scenario():
        async with Bench(tmp_path, DYING) as bench:
            bench.supervisor.on_committed(at(200))
            await bench.until(lambda: bench.status()["restarts"] >= 2)

    asyncio.run(scenario())
    assert "worker store left with code 1" in caplog.text
    assert "no use" in caplog.text


def test_worker_that_talks_nonsense_does_not_matter(tmp_path):
    async def scenario():
        async with Bench(tmp_path, RUDE) as bench:
            bench.supervisor.on_committed(at(200))
            await bench.until(lambda: bench.status()["last_error"] == "backend is down")
            assert bench.applied == [at(64)]

    asyncio.run(scenario())


def test_worker_that_does_not_leave_is_killed_at_the_deadline(tmp_path):
    async def scenario():
        async with Bench(tmp_path, DEAF) as bench:
            bench.supervisor.on_committed(at(200))
            await bench.until(lambda: bench.status()["pid"])
            began = time.monotonic()
            left = await bench.supervisor.drain(time.monotonic() + 0.5)
            return left, time.monotonic() - began

    left, took_s = asyncio.run(scenario())
    assert left == 1
    assert took_s < 60


def test_worker_with_nothing_to_do_is_let_go(tmp_path):
    async def scenario():
        async with Bench(tmp_path, OBEDIENT, idle_s=0.2) as bench:
            bench.supervisor.on_committed(at(200))
            await bench.until(lambda: bench.supervisor.synced() == at(200))
            await bench.until(lambda: bench.status()["pid"] is None)
            assert bench.status()["restarts"] == 0

            bench.supervisor.on_committed(at(300))
            await bench.until(lambda: bench.supervisor.synced() == at(300))

    asyncio.run(scenario())


def test_worker_that_holds_runs_back_stays_and_tries_them_again(tmp_path):
    async def scenario():
        async with Bench(tmp_path, HOLDING, idle_s=0.2) as bench:
            bench.supervisor.on_committed(at(200))
            await bench.until(lambda: bench.supervisor.synced() == at(200))
            pid = bench.status()["pid"]
            await asyncio.sleep(2.5)  # a worker with nothing to do is checked every second
            assert bench.status()["pid"] == pid is not None

    asyncio.run(scenario())


def test_settle_waits_for_the_token(tmp_path):
    async def scenario():
        async with Bench(tmp_path, OBEDIENT) as bench:
            assert await bench.supervisor.send_and_wait("store", {"run_gone": "00"}, 0.1)  # none runs
            bench.supervisor.on_committed(at(200))
            await bench.until(lambda: bench.status()["pid"])
            assert await bench.supervisor.send_and_wait("store", {"run_gone": "00"}, PATIENCE_S)

    asyncio.run(scenario())


def test_cursor_of_an_unknown_log_or_beyond_its_end_is_the_beginning(tmp_path):
    bench = Bench(tmp_path, OBEDIENT)
    (tmp_path / "cursors").mkdir()
    cursor = tmp_path / "cursors" / "store.json"
    found = []
    for content in ({"position": ["00" * 16, 100]}, {"position": [SEGMENT.hex(), 900]}, {"position": 3}, []):
        files.write_json(cursor, content)
        bench.supervisor.on_log_recovered(at(500))
        found.append(bench.supervisor.synced())
    files.write_json(cursor, {"position": [SEGMENT.hex(), 400]})
    bench.supervisor.on_log_recovered(at(500))

    assert found == [START] * 4
    assert bench.supervisor.synced() == at(400)


STORE_ONLY = [WorkerSpec("store", holds_log=True, stays=True)]


def test_worker_added_to_a_running_collector_begins_at_once(tmp_path):
    async def scenario():
        async with Bench(tmp_path, OBEDIENT, specs=STORE_ONLY) as bench:
            bench.supervisor.on_committed(at(200))
            await bench.until(lambda: bench.supervisor.synced() == at(200))

            bench.supervisor.set_workers([*STORE_ONLY, WorkerSpec("late", holds_log=True)])

            assert bench.supervisor.synced() == START  # the log waits for it from now on
            await bench.until(lambda: bench.supervisor.synced() == at(200))

    asyncio.run(scenario())


def test_worker_taken_away_leaves_and_the_log_no_longer_waits_for_it(tmp_path):
    async def scenario():
        specs = [*STORE_ONLY, WorkerSpec("gone", holds_log=True)]
        async with Bench(tmp_path, OBEDIENT, specs=specs) as bench:
            bench.supervisor.on_committed(at(200))
            await bench.until(lambda: bench.supervisor.synced() == at(200))
            pid = bench.supervisor.status()[1]["pid"]

            bench.supervisor.set_workers(STORE_ONLY)

            assert [worker["name"] for worker in bench.supervisor.status()] == ["store"]
            await bench.until(lambda: not psutil.pid_exists(pid))

    asyncio.run(scenario())


def test_log_waits_for_those_workers_only_that_say_so(tmp_path):
    async def scenario():
        specs = [*STORE_ONLY, WorkerSpec("pictures", holds_log=False)]
        scripts = {"store": OBEDIENT, "pictures": DEAF}
        async with Bench(tmp_path, scripts, specs=specs) as bench:
            bench.supervisor.on_committed(at(200))

            await bench.until(lambda: bench.supervisor.synced() == at(200))
            assert not bench.supervisor.undelivered()
            assert bench.supervisor.status()[1]["synced"] != at(200).to_json()

    asyncio.run(scenario())


def test_stopping_does_not_wait_for_a_worker_whose_backend_is_down(tmp_path):
    async def scenario():
        specs = [*STORE_ONLY, WorkerSpec("stuck", holds_log=True)]
        async with Bench(tmp_path, {"store": OBEDIENT, "stuck": STUCK}, specs=specs) as bench:
            bench.supervisor.on_committed(at(200))
            await bench.until(lambda: bench.status()["synced"] == at(200).to_json())
            await bench.until(lambda: bench.supervisor.status()[1]["pid"])
            began = time.monotonic()
            left = await bench.supervisor.drain(time.monotonic() + PATIENCE_S)
            return left, time.monotonic() - began

    left, took_s = asyncio.run(scenario())
    assert left == 0
    assert took_s < PATIENCE_S / 2
