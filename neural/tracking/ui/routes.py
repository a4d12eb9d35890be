"""The routes of the server beside those of Dash: downloads, plots, sign-in; and the checks of all requests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from urllib.parse import parse_qs

import flask
from dash import Dash
from dash.exceptions import DependencyException
from werkzeug.exceptions import HTTPException

from neural.tracking.core.files import inside
from neural.tracking.errors import ArtifactDamagedError, InvalidNameError
from neural.tracking.reader.run import Run
from neural.tracking.ui import guard as guard_module
from neural.tracking.ui.data import attachments, exporting
from neural.tracking.ui.data.catalogue import UNREADABLE
from neural.tracking.ui.guard import CONTENT_POLICY, COOKIE, HEADERS, SIGN_IN, Guard
from neural.tracking.ui.views.controls import Page

_MIN_COMPRESSED = 2000  # bytes
_SIGN_IN_PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Sign in</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/assets/early/sign-in.css"></head><body><main><h1>Runs</h1>
<p>{message}</p><form method="post" action="{where}"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button type="submit">Sign in</button></form>
<p class="faint">The token is the content of {variable} or of the token file of <code>ntrack ui</code>.</p>
</main></body></html>"""
_WITHOUT_TOKEN = (SIGN_IN, "/assets/early/sign-in.css")


def register(app: Dash, page: Page, guard: Guard) -> None:
    """Add the checks and the routes to the Flask application of the page."""
    server: flask.Flask = app.server
    server.config["MAX_CONTENT_LENGTH"] = 4 << 20
    policy = CONTENT_POLICY.format(scripts=" ".join(app.csp_hashes()))
    _add_rules(server, guard, policy)
    _add_callback_check(app)
    _add_downloads(server, page)


def _add_rules(server: flask.Flask, guard: Guard, policy: str) -> None:
    def check() -> flask.Response | None:
        request = flask.request
        refused = guard.refusal(request.method, request.path, request.headers)
        if refused is not None:
            return _plain(refused.status, refused.reason)
        if request.path not in _WITHOUT_TOKEN and guard.needs_token(request.cookies.get(COOKIE)):
            if request.method == "GET" and request.path == "/":
                return _sign_in_page("This page needs a token.")
            return _plain(401, "sign in first")
        if (
            request.url_rule is not None and request.url_rule.rule == "/<path:path>"
        ):  # Dash's route for applications with several paths
            return _plain(404, "page not found")
        return None

    def add_headers(answer: flask.Response) -> flask.Response:
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        answer.headers.setdefault("Content-Security-Policy", policy)
        if not flask.request.path.startswith(("/_dash-component-suites/", "/assets/")):
            answer.headers.setdefault("Cache-Control", "no-store")
        return _compressed(answer)

    def sign_in() -> flask.Response:
        if flask.request.method == "POST":
            if not guard.is_token(flask.request.form.get("token", "")):
                return _sign_in_page("Wrong token.", 401)
            answer = flask.redirect("/")
            answer.set_cookie(COOKIE, guard.cookie, httponly=True, samesite="Lax", max_age=30 * 86400)
            return answer
        return _sign_in_page("This page needs a token.")

    server.before_request(check)
    server.after_request(add_headers)
    server.add_url_rule(SIGN_IN, "sign_in", sign_in, methods=["GET", "POST"])


def _add_callback_check(app: Dash) -> None:
    """Refuse callbacks that no tab of this page sends: Dash would report an internal error with a traceback."""

    def check() -> flask.Response | None:
        if flask.request.path != "/_dash-update-component":
            return None
        try:
            body = flask.request.get_json(silent=True)
        except RecursionError:  # nested too deeply for any tab
            body = None
        known = app.callback_map.get(str(body.get("output"))) if isinstance(body, dict) else None
        if known is not None and all(
            isinstance(given := body.get(part, []), list)
            and len(given) == len(known[part])
            and all(isinstance(one, dict | list) for one in given)
            for part in ("inputs", "state")
        ):
            return None
        return _plain(400, "this page is from another version of the server; reload it")

    app.server.before_request(check)
    app.server.register_error_handler(
        DependencyException, lambda error: _plain(404, "part of the page not found")
    )


def _plain(status: int, message: str) -> flask.Response:
    return flask.Response(message + "\n", status, mimetype="text/plain")


def _sign_in_page(message: str, status: int = 401) -> flask.Response:
    text = _SIGN_IN_PAGE.format(message=message, where=SIGN_IN, variable=guard_module.TOKEN_VARIABLE)
    return flask.Response(text, status, mimetype="text/html")


def _compressed(answer: flask.Response) -> flask.Response:
    """Compress large JSON answers: curves shrink by a quarter, tables to a tenth."""
    wanted = "gzip" in flask.request.headers.get("Accept-Encoding", "")
    if not wanted or answer.direct_passthrough or answer.is_streamed or answer.mimetype != "application/json":
        return answer
    data = answer.get_data()
    if len(data) > _MIN_COMPRESSED and "Content-Encoding" not in answer.headers:
        answer.set_data(gzip.compress(data, 1))
        answer.headers["Content-Encoding"] = "gzip"
        answer.headers["Vary"] = "Accept-Encoding"
    return answer


def _add_downloads(server: flask.Flask, page: Page) -> None:
    def export(name: str) -> flask.Response:
        keys = parse_qs(flask.request.query_string.decode("utf-8", "replace")).get("runs", [""])[0]
        rows = page.catalogue.chosen(key for key in keys.split(",")[:500] if key)
        if name not in exporting.TYPES:
            return _plain(404, f"unknown export {name}")
        if not rows:
            return _plain(404, "these runs do not exist any more; select others in the page")
        try:
            content, kind = (
                exporting.export(name, page.catalogue.base_dir, rows, page.series),
                exporting.TYPES[name],
            )
        except UNREADABLE as error:
            return _plain(500, f"cannot make the export: {error}")
        return _download(content, name, kind)

    def artifact(key: str, number: int, name: str) -> flask.Response:
        row = page.catalogue.row(key)
        if row is None or not row.readable:
            return _plain(404, "this run does not exist any more")
        try:
            entry = attachments.entry_of(Run(row.folder).facts.artifacts, name, number)
            if entry is None or entry.call.get("uri"):
                return _plain(404, f"this run has no version {number} of {name}")
            file, file_name, size = attachments.opened(row.folder, entry)
        except ArtifactDamagedError as error:
            return _plain(409, f"not sent: {error}")
        except UNREADABLE as error:
            return _plain(404, f"{name} v{number} cannot be read: {error}")
        return _download(attachments.pieces(file), file_name, "application/octet-stream", size)

    def plot(key: str, name: str) -> flask.Response:
        row = page.catalogue.row(key)
        names = [] if row is None else [one for one, _ in attachments.plots(row.folder)]
        if (
            row is None or name not in names
        ):  # only names that the folder lists: no path is built from a request
            return _plain(404, "plot not found")
        try:
            data = inside(row.folder, "plots", name).read_bytes()
        except (InvalidNameError, OSError) as error:
            return _plain(404, f"cannot read the plot: {error}")
        return flask.Response(data, mimetype="image/png", headers={"Content-Security-Policy": "sandbox"})

    def health() -> flask.Response:
        catalogue = page.catalogue
        state = {"ready": catalogue.complete, "runs": len(catalogue.rows())}
        return flask.Response(json.dumps(state), mimetype="application/json")

    server.add_url_rule("/export/<name>", "export", export)
    server.add_url_rule("/artifact/<key>/<int:number>/<path:name>", "artifact", artifact)
    server.add_url_rule("/plot/<key>/<name>", "plot", plot)
    server.add_url_rule("/health", "health", health)
    server.register_error_handler(
        HTTPException, lambda error: _plain(error.code or 500, str(error.description))
    )


def _download(content: Iterator[bytes], name: str, kind: str, size: int = 0) -> flask.Response:
    answer = flask.Response(content, mimetype=None, content_type=kind)
    answer.headers["Content-Security-Policy"] = (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    )
    answer.headers.set("Content-Disposition", "attachment", filename=name)
    if size:
        answer.headers["Content-Length"] = str(size)
    return answer
