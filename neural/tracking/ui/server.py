"""Starts the page: opens the port, prints the address, and runs the server."""

from __future__ import annotations

import contextlib
import errno
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from neural.tracking.errors import ConfigError, PortTakenError
from neural.tracking.ui.data.catalogue import Catalogue
from neural.tracking.ui.guard import Guard, find_token

THREADS = 8
_PORTS_TRIED = 100


def serve(
    base_dir: Path,
    port: int,
    *,
    host: str = "127.0.0.1",
    debug: bool = False,
    token_file: Path | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Answer requests until it is interrupted. Blocks until then.

    Args:
        base_dir: the folder of the runs; it need not exist yet.
        port: 0 for any free port.
        host: the address to listen on; any address but loopback needs a token.
        debug: show errors of the page's code in the browser.
        token_file: a file of mode 0600 with the token; default ``NTRACK_UI_TOKEN``.
        ready: is called with the address of the page once it accepts connections.

    Raises:
        ConfigError: the host needs a token, the token is wrong, or the ``ui`` extra is not installed.
        PortTakenError: another program uses the port; the error has the next free port.
        OSError: the server cannot listen on the address.
    """
    guard = Guard(host, find_token(token_file))
    listening = listen(host, port)
    try:
        catalogue = Catalogue(base_dir)
        catalogue.start()  # reads the runs while Dash is imported
        server = _server(base_dir, guard, catalogue, listening, debug)
        threading.Thread(target=warm_up, name="ntrack-ui-warm-up", daemon=True).start()
    except BaseException:
        listening.close()
        raise
    if ready is not None:
        ready(address_of(host, listening.getsockname()[1]))
    with _stopped_by_sigterm():
        try:
            server.run()
        except (KeyboardInterrupt, SystemExit):
            pass
        finally:
            server.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises ConfigError, PortTakenError and OSError as :func:`serve`."""
    try:
        return _bound(host, port)
    except socket.gaierror as error:
        raise ConfigError(f"{host!r} is not an address of this computer: {error}") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(host, port, _next_free(host, port)) from error
        raise


def _bound(host: str, port: int) -> socket.socket:
    family, kind, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    found = socket.socket(family, kind)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(where)
        found.listen(128)
    except BaseException:
        found.close()
        raise
    return found


def _next_free(host: str, port: int) -> int | None:
    for candidate in range(port + 1, min(port + _PORTS_TRIED, 65536)):
        try:
            _bound(host, candidate).close()
        except OSError:
            continue
        return candidate
    return None


def address_of(host: str, port: int) -> str:
    """Return the address to open in a browser."""
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"


def _server(base_dir: Path, guard: Guard, catalogue: Catalogue, listening: socket.socket, debug: bool) -> Any:
    try:
        import waitress

        from neural.tracking.ui.app import build
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("neural"):
            raise
        raise ConfigError(
            f"the comparison page needs {error.name}: pip install 'neural-tracking[ui]'"
        ) from error
    app = build(base_dir, guard, catalogue)
    if debug:
        # The debugger of Flask stays off: it would run code for everyone who can reach the page.
        app.enable_dev_tools(debug=True, dev_tools_hot_reload=False, dev_tools_disable_version_check=True)
    logging.getLogger("waitress.queue").setLevel(
        logging.ERROR
    )  # it warns when many charts are requested at once, which is normal
    return waitress.create_server(
        app.server, sockets=[listening], threads=THREADS, ident=None, max_request_body_size=4 << 20
    )


def warm_up() -> None:
    """Import the modules that reading points needs, so that the first chart does not wait for them."""
    import pyarrow.parquet  # noqa: F401 - for later readers
    import tsdownsample  # noqa: F401 - for later readers

    from neural.tracking.ui.data.reduction import thin

    thin(np.arange(2000.0), 100)


@contextlib.contextmanager
def _stopped_by_sigterm() -> Any:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
