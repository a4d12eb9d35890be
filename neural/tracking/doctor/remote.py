"""The checks of `ntrack doctor` for trainings and collectors on different hosts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from neural.tracking.core.config import agent_config
from neural.tracking.doctor.finding import NOTE, OK, PROBLEM, Finding
from neural.tracking.errors import ConfigError
from neural.tracking.remote import keys
from neural.tracking.state.outbox_list import list_remote_outboxes
from neural.tracking.state.paths import State

SKEW_S = 1.0


def examine(state: State, answer: dict[str, Any] | None) -> Iterator[Finding]:
    """Yield findings; ``answer`` is the status of this host's collector, None if none answers.

    Blocks: about 3 s if trainings here log to another host that does not answer.
    """
    yield from _collector_elsewhere(state)
    yield from _listener_keys(state, answer)


def _collector_elsewhere(state: State) -> Iterator[Finding]:
    """Test the connection to the collector on another host, if trainings here log to one."""
    subject = "remote"
    try:
        address = agent_config(state.base_dir).collector
    except ConfigError as error:
        yield Finding(PROBLEM, subject, str(error), "correct it; until then trainings refuse to start")
        return
    if address is not None:
        yield _try_connection(subject, address)
    left = [outbox for outbox in list_remote_outboxes(state) if not outbox.live]
    if left:
        addresses = ", ".join(sorted({str(outbox.collector) for outbox in left}))
        seen = f"outboxes that wait for {addresses}: {len(left)}"
        yield Finding(NOTE, subject, seen, "a courier ships them; `ntrack outbox ship` does so now")


def _try_connection(subject: str, address: str) -> Finding:
    from neural.tracking.remote.probe import reach  # imports ZeroMQ

    try:
        security = keys.client_security(address)
    except (ConfigError, OSError) as error:
        return Finding(PROBLEM, subject, str(error), "meanwhile trainings continue and keep their events")
    found = reach(address, security)
    public = keys.public_text(security.pair.public)
    if found.how == "refused":
        return Finding(
            PROBLEM,
            subject,
            f"{address} does not allow your key",
            f"run there `ntrack keys allow NAME {public}`",
        )
    if found.how == "wrong key":
        advice = (
            f"`ntrack keys collector` there shows its key, `ntrack keys trust {address} KEY` stores it here"
        )
        return Finding(PROBLEM, subject, f"the key of {address} differs from the one stored here", advice)
    if found.how == "unreachable":
        advice = "does it run with --listen? check address, port, firewall and route"
        return Finding(PROBLEM, subject, f"nobody answers at {address}", advice)
    if abs(found.ahead_s) > SKEW_S + found.round_trip_s:
        seen = (
            f"the clock of {address} is {abs(found.ahead_s):.1f} s {'ahead' if found.ahead_s > 0 else 'behind'}"
        )
        return Finding(NOTE, subject, seen, "time decides the order between hosts: use NTP on both")
    return Finding(OK, subject, f"{address} answers within {found.round_trip_s * 1000:.0f} ms, {found.version}")


def _listener_keys(state: State, answer: dict[str, Any] | None) -> Iterator[Finding]:
    """Check the keys of this host's collector, if it has keys for other hosts."""
    secret = state.keys / keys.COLLECTOR_SECRET
    try:
        keys.read_pair(secret)
        allowed = keys.read_list(state.keys / keys.ALLOWED)
    except FileNotFoundError:
        return
    except (ConfigError, OSError) as error:
        yield Finding(PROBLEM, "keys", str(error), "correct it; until then no other host can connect")
        return
    remote = (answer or {}).get("remote")
    where = f"listens to other hosts on {remote['address']}" if remote else "does not listen to other hosts now"
    seen = f"this collector {where}, {len(allowed)} {'key is' if len(allowed) == 1 else 'keys are'} allowed"
    if remote and not allowed:
        yield Finding(NOTE, "keys", seen, "`ntrack keys allow NAME KEY` allows one")
    else:
        yield Finding(OK, "keys", seen)
