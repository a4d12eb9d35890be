"""What `ntrack doctor` looks at where trainings and their collector are on different hosts."""

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
    """Yield findings; ``answer`` is the status of this host's collector, None where none answers."""
    yield from _collector_elsewhere(state)
    yield from _door(state, answer)


def _collector_elsewhere(state: State) -> Iterator[Finding]:
    """Try the collector on another host that trainings here log to, if they do."""
    subject = "remote"
    try:
        address = agent_config(state.base_dir).collector
    except ConfigError as error:
        yield Finding(PROBLEM, subject, str(error), "correct it; trainings refuse to start like this")
        return
    if address is not None:
        yield _tried(subject, address)
    left = [outbox for outbox in list_remote_outboxes(state) if not outbox.live]
    if left:
        seen = f"{len(left)} left for {', '.join(sorted({str(outbox.collector) for outbox in left}))}"
        yield Finding(NOTE, subject, seen, "a courier ships it; `ntrack outbox ship` does so now")


def _tried(subject: str, address: str) -> Finding:
    from neural.tracking.remote.probe import reach  # which imports ZeroMQ

    try:
        security = keys.client_security(address)
    except (ConfigError, OSError) as error:
        return Finding(PROBLEM, subject, str(error), "trainings go on and keep what they log meanwhile")
    found = reach(address, security)
    public = keys.public_text(security.pair.public)
    if found.how == "refused":
        return Finding(
            PROBLEM, subject, f"{address} does not allow your key", f"there: `ntrack keys allow NAME {public}`"
        )
    if found.how == "wrong key":
        advice = f"`ntrack keys collector` there shows its key, `ntrack keys trust {address} KEY` notes it"
        return Finding(PROBLEM, subject, f"{address} has another key than the one noted here", advice)
    if found.how == "unreachable":
        advice = "is it running with --listen? address, port, firewall, and the route to it"
        return Finding(PROBLEM, subject, f"nobody answers at {address}", advice)
    if abs(found.ahead_s) > SKEW_S + found.round_trip_s:
        seen = (
            f"the clock of {address} is {abs(found.ahead_s):.1f} s {'ahead' if found.ahead_s > 0 else 'behind'}"
        )
        return Finding(NOTE, subject, seen, "order between hosts goes by time: have both use NTP")
    return Finding(OK, subject, f"{address} answers within {found.round_trip_s * 1000:.0f} ms, {found.version}")


def _door(state: State, answer: dict[str, Any] | None) -> Iterator[Finding]:
    """Look at the keys of a collector here that listens to other hosts."""
    secret = state.keys / keys.COLLECTOR_SECRET
    try:
        keys.read_pair(secret)
        allowed = keys.read_list(state.keys / keys.ALLOWED)
    except FileNotFoundError:
        return
    except (ConfigError, OSError) as error:
        yield Finding(PROBLEM, "keys", str(error), "until then this collector listens to no other host")
        return
    remote = (answer or {}).get("remote")
    where = f"listens to other hosts on {remote['address']}" if remote else "does not listen to other hosts now"
    seen = f"this collector {where}, {len(allowed)} {'key is' if len(allowed) == 1 else 'keys are'} allowed"
    if remote and not allowed:
        yield Finding(NOTE, "keys", seen, "`ntrack keys allow NAME KEY` lets one in")
    else:
        yield Finding(OK, "keys", seen)
