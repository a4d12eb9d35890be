"""What a tab shows, in pieces, of which only those that changed are drawn again.

While a selected run is live, a tab is asked for every two seconds. Drawn anew as a whole, it would close what
its reader has opened, scroll back what was scrolled, and take the keyboard's place away.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from dash import html, no_update, set_props
from plotly.utils import PlotlyJSONEncoder


class Pieces:
    """The pieces of one answer; ``before`` is what the answer before it came to."""

    def __init__(self, view: str, before: dict[str, str] | None) -> None:
        self._view = view
        self._before = before or {}
        self._content: dict[str, Any] = {}

    def __call__(self, name: str, content: Any) -> html.Div:
        """Return the place of a piece; ``name`` tells it from the others of the answer."""
        self._content[name] = content
        return html.Div(content, id=self._id(name), className="piece")

    def answer(self, whole: Any) -> tuple[Any, Any]:
        """Return the whole where pieces came or went, and what it comes to; no_update where nothing is new."""
        now = {name: digest(content) for name, content in self._content.items()}
        if list(now) != list(self._before):
            return whole, now
        changed = [name for name, found in now.items() if found != self._before[name]]
        for name in changed:
            set_props(self._id(name), {"children": self._content[name]})
        return no_update, now if changed else no_update

    def _id(self, name: str) -> dict[str, str]:
        return {"view": self._view, "piece": name.encode().hex()}  # in hex no character of a name breaks it


def digest(content: Any) -> str:
    """Return a few letters that differ where what is shown does."""
    found = json.dumps(content, cls=PlotlyJSONEncoder, sort_keys=True)
    return hashlib.blake2s(found.encode(), digest_size=12).hexdigest()
