"""Divides the content of a tab into pieces, so that only changed pieces are drawn again.

While a selected run is live, a tab is requested every two seconds. If it were drawn again as a whole, opened
details would close, and scroll positions and the keyboard focus would be lost.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from dash import html, no_update, set_props
from plotly.utils import PlotlyJSONEncoder


class Pieces:
    """The pieces of one answer; ``before`` has the digests of the previous answer."""

    def __init__(self, view: str, before: dict[str, str] | None) -> None:
        self._view = view
        self._before = before or {}
        self._content: dict[str, Any] = {}

    def __call__(self, name: str, content: Any) -> html.Div:
        """Return the element of a piece with this content; ``name`` is unique in the answer."""
        self._content[name] = content
        return html.Div(content, id=self._id(name), className="piece")

    def answer(self, whole: Any) -> tuple[Any, Any]:
        """Return the whole and the new digests if the set of pieces has changed.

        Otherwise update only the changed pieces and return no_update, and the digests if any has changed.
        """
        now = {name: digest(content) for name, content in self._content.items()}
        if list(now) != list(self._before):
            return whole, now
        changed = [name for name, found in now.items() if found != self._before[name]]
        for name in changed:
            set_props(self._id(name), {"children": self._content[name]})
        return no_update, now if changed else no_update

    def _id(self, name: str) -> dict[str, str]:
        return {
            "view": self._view,
            "piece": name.encode().hex(),
        }  # in hex, so that a name can have any characters


def digest(content: Any) -> str:
    """Return a short text that differs if the content differs."""
    found = json.dumps(content, cls=PlotlyJSONEncoder, sort_keys=True)
    return hashlib.blake2s(found.encode(), digest_size=12).hexdigest()
