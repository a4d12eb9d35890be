"""Outboxes of runs whose processes died, and the check of a run after a bit was flipped."""

import numpy as np

from neural.tracking.reader.run import Run
from neural.tracking.verify.verify import verify_run
from tests.faults.outcome import points
from tests.faults.training import expected_values

STEPS, TEXT_EVERY = 40, 8
EMITTED = 1 + STEPS + STEPS // TEXT_EVERY  # the opening event first


def leaving(sessions: int) -> str:
    """Return the body of a training process that makes that many runs, and is killed with all in outboxes."""
    return f"""
from neural.tracking.agent import choose_run, open_session
from neural.tracking.core.config import AgentConfig
sessions = []
for number in range({sessions}):
    identity = choose_run(f"run-{{number}}", {{}})
    session = open_session(identity, base_dir, config=AgentConfig(mode="offline"))
    for i in range({STEPS}):
        session.emit_metrics({{"half": i / 2, "square": i * i}}, i)
        if i % {TEXT_EVERY} == 0:
            session.emit("text", {{"name": "remark", "text": f"at {{i}}"}}, step=i)
    assert session.emitted == {EMITTED}
    sessions.append(session)
_os.kill(_os.getpid(), 9)
"""


def check_run(run: Run, where: str = "") -> None:
    """Assert that all stored values are right, gaps name all others, and ``ntrack verify`` succeeds."""
    account = verify_run(run.folder)
    (session,) = account.sessions
    where = f"{run.name}: {where}: {account}"
    assert (account.exit_code, session.n, session.ended) == (0, EMITTED, True), where
    served = {name: next(iter(points(run, name).values())) for name in run.metric_names()}
    for name, found in served.items():
        assert np.array_equal(found.value, expected_values(found.step)[name]), where
    texts = {text["text"] for text in run.texts()}
    assert texts <= {f"at {i}" for i in range(0, STEPS, TEXT_EVERY)}, where
    lost = sum(last - first + 1 for first, last, _ in session.gaps)
    steps = len(served["half"].step) if served else 0
    assert steps + len(texts) + 1 in (EMITTED - lost, EMITTED - lost + 1), where
    assert steps == len(served["square"].step) if served else True, where
