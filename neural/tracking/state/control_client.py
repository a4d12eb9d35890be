"""Asks the collector of a state folder: its status, to stop, to take over what a dead process left."""

from __future__ import annotations

import os
from typing import Any

from neural.tracking.errors import CollectorUnreachableError, FormatError
from neural.tracking.state.paths import State

DEFAULT_TIMEOUT_S = 3.0


def request(state: State, cmd: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, **fields: Any) -> dict[str, Any]:
    """Send one command to the collector and return its answer.

    Raises:
        CollectorUnreachableError: none listens, or it did not answer in time.

    Blocks: at most ``timeout_s``.
    """
    if not os.path.exists(state.control_socket):  # not: `Path.exists`, which raises in another user's folder
        raise CollectorUnreachableError(f"no collector runs on {state.root}")
    reason = state.others()
    if reason is not None and os.geteuid() != 0:  # root may ask the collector of whomever
        raise CollectorUnreachableError(reason)
    import msgpack
    import zmq

    from neural.tracking.formats.events import unpack_map

    # A context of its own: the caller may be a forked child of a process that uses the shared one.
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.connect(f"ipc://{state.control_socket}")
        deadline_ms = max(1, int(timeout_s * 1000))
        socket.setsockopt(zmq.SNDTIMEO, deadline_ms)
        socket.setsockopt(zmq.RCVTIMEO, deadline_ms)
        try:
            socket.send(msgpack.packb({"cmd": cmd, **fields}, use_bin_type=True))
            answer = unpack_map(socket.recv())
        except (zmq.ZMQError, FormatError) as error:
            raise CollectorUnreachableError(
                f"the collector of {state.root} did not answer {cmd!r} within {timeout_s:g} s"
            ) from error
    return answer
