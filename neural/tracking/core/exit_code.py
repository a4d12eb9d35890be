"""Notices with which code the process is about to end: ``sys.exit(3)`` reaches no ``sys.excepthook``.

``sys.exit``, ``exit`` and ``quit`` leave a mark on the ``SystemExit`` they raise. It goes with the
exception, and where that happens says what became of it: whoever caught it was Python code, which is then
still on the stack; only the end of the program drops it with no Python frame left.

Done when the tracker's module is imported, not when a run is opened: ``sys.exit(main())`` looks up
``sys.exit`` before ``main`` runs.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from threading import get_ident as _thread
from typing import Any

_finalizing, _frame = sys.is_finalizing, sys._getframe
_watched = False
on_exit: Callable[[object], None] | None = None  # told of the code, before the process's exit hooks run


class _Mark:
    def __init__(self, code: object) -> None:
        self._code = code
        main = threading.main_thread().ident
        self._ends = on_exit if _thread() == main else None  # elsewhere it ends a thread

    def __del__(self) -> None:
        if self._ends is not None and not _finalizing() and _frame().f_back is None:
            self._ends(self._code)

    def __reduce__(self) -> tuple[Any, ...]:
        return str, ()  # a pickled exception is about to be raised somewhere else


def watch() -> None:
    """Put marks on what ``sys.exit`` and its like raise from now on; safe to call again."""
    global _watched
    if _watched:
        return
    _watched = True
    sys.exit = _marking(sys.exit)
    quitter = sys.modules.get("_sitebuiltins")
    if quitter is not None:  # `exit()` and `quit()`, which a script should not use and many do
        quitter.Quitter.__call__ = _marking(quitter.Quitter.__call__)


def _marking(leave: Callable[..., Any]) -> Callable[..., Any]:
    def exit(*status: Any, **code: Any) -> Any:
        try:
            leave(*status, **code)
        except SystemExit as error:
            error.__dict__.setdefault("_ntrack_mark", _Mark(error.code))
            raise

    return exit
