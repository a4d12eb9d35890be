"""Sends commands to the collector of a state folder: report the status, stop, adopt orphans, …"""

from __future__ import annotations

import os
from typing import Any

from neural.tracking.errors import CollectorUnreachableError, FormatError
from neural.tracking.state.paths import State

DEFAULT_TIMEOUT_S = 3.0


def request(state: State, cmd: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, **fields: Any) -> dict[str, Any]:
    """Send one command to the collector and return its answer.

    Blocks until the answer arrives; waits ``timeout_s`` seconds at most for sending and again for the answer.

    Raises:
        CollectorUnreachableError: no collector runs, it did not answer, or the folder is another user's.
    """
    if not os.path.exists(state.control_socket):  # `Path.exists` raises in another user's folder
        raise CollectorUnreachableError(f"no collector runs on {state.root}")
    reason = state.not_own_reason()
    if reason is not None and os.geteuid() != 0:  # root may send commands to any user's collector
        raise CollectorUnreachableError(reason)
    import msgpack
    import zmq

    from neural.tracking.formats.events import unpack_map

    # A separate context: the caller may be a forked child of a process that uses the shared one.
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
