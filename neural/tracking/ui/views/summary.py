"""The tab of summaries: a card for each run with its status, facts, metrics, artifacts, links and plots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from dash import Dash, Input, Output, State, dcc, html

from neural.tracking.reader.artifacts import Artifacts
from neural.tracking.reader.run import Run
from neural.tracking.sink_state.status import links
from neural.tracking.state import paths
from neural.tracking.ui import text
from neural.tracking.ui.address import PageAddress
from neural.tracking.ui.data import attachments
from neural.tracking.ui.data.attachments import Version
from neural.tracking.ui.data.catalogue import UNREADABLE, Row
from neural.tracking.ui.data.comparing import MISSING, UNKNOWN_GOAL, goal_of, metric_names
from neural.tracking.ui.views import controls
from neural.tracking.ui.views.controls import Page
from neural.tracking.ui.views.partial_update import Pieces

MAX_METRICS = 8
MAX_PLOTS = 12
MAX_VERSIONS = 60


def layout(page: Page, at: PageAddress) -> html.Div:
    """Return the tab without content; the first callback adds it."""
    return html.Div(
        [html.Div(id="summary-content"), dcc.Store(id="summary-shown")], className="view view-summary"
    )


def card(page: Page, slot: int, row: Row) -> html.Article:
    """Return the card of one run, with its problems. Blocks while it reads the run folder."""
    try:
        run = Run(row.folder)
        metadata = run.metadata
        damages = run.damages
    except UNREADABLE as unreadable:
        return html.Article(
            [_title(slot, row), html.P(f"Cannot be read: {unreadable}", className="problems")],
            className="run-card",
        )
    found: list[Any] = [_title(slot, row)]
    if damages:
        found.append(controls.problem_list([("damaged", what) for what in damages[:4]]))
    if row.notes:
        found.append(html.P(row.notes[:2000], className="notes"))
    if error := metadata.get("error"):
        tail = str(error).strip().splitlines()[-1][:300]
        found.append(
            html.Details(
                [html.Summary(tail), html.Pre(str(error)[:20_000], className="code")], className="failure"
            )
        )
    found.append(_facts(row, metadata))
    for title, content in (
        ("Metrics", _metrics(row)),
        ("Artifacts", _artifacts(row, run.facts.artifacts)),
        ("Also in", _links(page, run)),
        ("Plots", _plots(row)),
    ):
        if content is not None:
            found.append(html.Section([html.H4(title), content]))
    return html.Article(found, className="run-card")


def _title(slot: int, row: Row) -> html.Header:
    tags = [html.Span(tag, className="tag", title=tag) for tag in row.tags[:12]]
    return html.Header(
        [
            html.H3([controls.dot(slot), row.name, html.Code(row.id, className="id")]),
            html.Div([controls.status(row), *tags]),
        ]
    )


def _facts(row: Row, metadata: Mapping[str, Any]) -> html.Dl:
    git = metadata.get("git") if isinstance(metadata.get("git"), dict) else {}
    assert isinstance(git, dict)
    commit = str(git.get("commit") or "")[:10]
    branch = f" on {git['branch']}" if git.get("branch") else ""
    dirty = " with changes" if git.get("dirty") else ""
    command = metadata.get("command")
    facts = {
        "started": html.Time(row.start or "–", dateTime=row.start or "", className="when"),
        "took": text.duration(controls.lasted(row)) + (" so far" if row.status == "running" else ""),
        "calls": f"{row.calls:,}",
        "ranks": str(row.ranks) if row.ranks > 1 else None,
        "attempts": str(metadata.get("attempts")) if (metadata.get("attempts") or 1) > 1 else None,
        "group": row.group,
        "git": html.Code(commit + branch + dirty) if commit else None,
        "command": html.Code(" ".join(map(str, command)) if isinstance(command, list) else str(command))
        if command
        else None,
        "host": metadata.get("host"),
        "Python": metadata.get("python"),
        "folder": html.Code(str(row.folder)),
    }
    found: list[Any] = []
    for name, value in facts.items():
        if value not in (None, ""):
            found += [html.Dt(name), html.Dd(value if hasattr(value, "to_plotly_json") else str(value)[:500])]
    return html.Dl(found)


def _metrics(row: Row) -> html.Table | None:
    names = metric_names([row])
    if not names:
        return None
    head = html.Thead(
        html.Tr(
            [html.Th("metric", scope="col")] + [html.Th(w, scope="col") for w in ("last", "best", "at step")]
        )
    )
    body = []
    for name in names[:MAX_METRICS]:
        found, goal = row.metrics[name], goal_of(name)
        step = found.get(f"{goal}_step")
        cells = [
            html.Td(text.number(found.get("last")), className="number"),
            html.Td(text.number(found.get(goal)), className="number")
            if goal
            else html.Td(MISSING, className="number faint", title=f"{UNKNOWN_GOAL}."),
            html.Td("–" if step is None else f"{step:,}", className="number"),
        ]
        body.append(html.Tr([html.Th(name, scope="row"), *cells]))
    if len(names) > MAX_METRICS:
        body.append(html.Tr(html.Td(f"and {len(names) - MAX_METRICS:,} more", colSpan=4, className="faint")))
    return html.Table([head, html.Tbody(body)], className="table-plain", **{"aria-label": "metrics"})


def _artifacts(row: Row, artifacts: Artifacts) -> html.Ul | None:
    found = attachments.versions(artifacts)
    lost, waiting = artifacts.lost(), artifacts.waiting()
    if not (found or lost or waiting):
        return None
    items: list[Any] = [html.Li(_version(row, version)) for version in found[:MAX_VERSIONS]]
    if len(found) > MAX_VERSIONS:
        items.append(html.Li(f"and {len(found) - MAX_VERSIONS} more: ntrack artifacts ls", className="faint"))
    if waiting:
        items.append(html.Li(f"{len(waiting)} pending", className="faint"))
    items += [html.Li(f"{entry.name}: lost, {entry.lost}", className="faint") for entry in lost[:10]]
    return html.Ul(items, className="artifacts")


def _version(row: Row, version: Version) -> list[Any]:
    label = version.name + (f" v{version.number}" if version.number else "")
    aliases = [html.Span(alias, className="tag") for alias in version.aliases]
    if version.reference:
        return [html.Span(label), *aliases, html.Span(f" refers to {version.reference}", className="faint")]
    where = f"/artifact/{quote(row.key, safe='')}/{version.number}/{quote(version.name)}"
    size = f" {text.size(version.size)}{', as ZIP' if version.is_folder else ''} · "
    checksum = html.Code(version.checksum[:12], title=f"SHA-256 {version.checksum}, checked before it is sent")
    return [html.A(label, href=where, download=True), *aliases, html.Span([size, checksum], className="faint")]


def _links(page: Page, run: Run) -> html.Ul | None:
    try:
        found = links(paths.State.for_base_dir(page.catalogue.base_dir), run.uid.hex())
    except OSError:
        return None
    if not found:
        return None
    items = []
    for name, link in found.items():
        address = text.web_link(link)
        # Only http and https addresses become links; everything else is text.
        shown = html.A(link, href=address, target="_blank", rel="noopener noreferrer") if address else link
        items.append(html.Li([html.B(name), " ", html.Span(shown)]))
    return html.Ul(items, className="links")


def _plots(row: Row) -> html.Div | None:
    names = attachments.plots(row.folder)
    if not names:
        return None
    found = []
    for name, changed in names[:MAX_PLOTS]:
        where = f"/plot/{quote(row.key, safe='')}/{quote(name, safe='')}?{changed}"
        found.append(html.A(html.Img(src=where, alt=name.removesuffix(".png")), href=where, target="_blank"))
    return html.Div(found, className="plots")


def register(app: Dash, page: Page) -> None:
    """Add the callbacks of the tab."""

    def content(slots: list[str], generations: Any, before: dict[str, str] | None) -> tuple[Any, Any]:
        chosen = page.chosen(slots)
        piece = Pieces("summary", before)
        problems = piece("problems", controls.problem_list(page.problems(slots)))
        if not chosen:
            return piece.answer([problems, piece("empty", controls.select_first())])
        cards = [piece(f"run {row.key}", card(page, slot, row)) for slot, row in chosen]
        return piece.answer([problems, html.Div(cards, className="cards")])

    app.callback(
        Output("summary-content", "children"),
        Output("summary-shown", "data"),
        Input("selected", "data"),
        Input("selected-generations", "data"),
        State("summary-shown", "data"),
    )(content)
