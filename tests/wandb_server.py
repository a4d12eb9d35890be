"""A stand-in for W&B's server: as much of its protocol as the real wandb package needs to deliver a run.

Rows are kept by (run, line), as W&B keeps them: a line that is sent again overwrites, and one that then
says something else is noted in ``overwritten``. ``mood`` makes it a server in trouble; ``go_away`` closes
the listener and every connection. What wandb asks for and this does not know is noted in ``unknown``.
"""

import base64
import contextlib
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ENTITY = "lab"
OK = ""
FAILING = "answers 500"
SILENT = "accepts and never answers"
MUTE = "takes it all and never answers"
HISTORY, SUMMARY, EVENTS = "wandb-history.jsonl", "wandb-summary.json", "wandb-events.jsonl"


class Run:
    """One run, as the server holds it."""

    def __init__(self, project, name):
        self.project, self.name = project, name
        self.files = {}  # by name: line by number
        self.uploads = {}  # by name: bytes
        self.config, self.tags, self.notes, self.shown = {}, [], None, name
        self.exit_code = None
        self.overwritten = []  # lines that were sent again as something else

    def lines(self, name):
        return self.files.setdefault(name, {})

    def rows(self):
        """Return every row of the history, in order."""
        return [json.loads(line) for _, line in sorted(self.lines(HISTORY).items())]

    def take(self, sent):
        for name, chunk in (sent.get("files") or {}).items():
            kept = self.lines(name)
            for number, line in enumerate(chunk["content"], chunk["offset"]):
                if name == HISTORY and kept.get(number, line) != line:
                    self.overwritten.append((number, kept[number], line))
                kept[number] = line
        if sent.get("complete"):
            self.exit_code = sent.get("exitcode")


class WandbServer:
    """Listens on loopback, in threads of this process."""

    def __init__(self, key):
        self.key = key
        self.mood = OK
        self.runs = {}
        self.artifacts = []  # the name of each that was committed
        self.asked = []  # operations and paths, in order
        self.unknown = []
        self._lock = threading.RLock()
        self._connections = set()
        self._server = None
        self._pending = {}  # artifacts by id, not committed yet
        self.port = 0
        self.come_back()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def come_back(self):
        """Listen, on the port it had."""
        assert self._server is None
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.stand = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def go_away(self):
        """Listen no more, and cut every connection."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        with self._lock:
            for connection in list(self._connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def run(self, name):
        """Return the run of this id, or an empty one."""
        return self.runs.get(name) or Run("", name)

    # What it answers

    def graphql(self, told):
        operation = re.search(r"(?:query|mutation)\s+(\w+)", told["query"])
        name = operation.group(1) if operation else ""
        answer = getattr(self, f"_on_{name}", None)
        with self._lock:
            self.asked.append(name)
            if answer is None:
                self.unknown.append(name)
                return {"errors": [{"message": f"Cannot query {name}"}]}
            return {"data": answer(told.get("variables") or {})}

    def stream(self, path, sent):
        project, name = path.strip("/").split("/")[2:4]
        with self._lock:
            self.asked.append("file_stream")
            self._made(project, name).take(sent)
        return {}

    def upload(self, path, data):
        _, kind, owner, name = path.split("/", 3)
        with self._lock:
            self.asked.append(f"PUT {name}")
            if kind == "runs":
                self.runs[owner].uploads[name] = data

    def _made(self, project, name):
        if name not in self.runs:
            self.runs[name] = Run(project, name)
        return self.runs[name]

    def _on_Viewer(self, _):
        return {
            "viewer": {
                "id": "dXNlcg==",
                "entity": ENTITY,
                "username": "someone",
                "email": "someone@lab.test",
                "flags": "{}",
                "teams": {"edges": []},
            }
        }

    def _on_GetDefaultEntity(self, _):
        return self._on_Viewer(_)

    def _on_ServerFeaturesQuery(self, _):
        return {"serverInfo": {"features": []}}

    def _on_OrganizationCoreWeaveOrganizationID(self, _):
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    def _on_RunResumeStatus(self, asked):
        run = self.runs.get(asked["name"])
        model = {"name": asked["project"], "entity": {"name": ENTITY}, "bucket": None}
        if run is not None:
            history, events = run.lines(HISTORY), run.lines(EVENTS)
            summary = run.lines(SUMMARY)
            own = run.config.get("_wandb", {}).get("value", {})
            model["bucket"] = {
                "name": run.name,
                "displayName": run.shown,
                "summaryMetrics": summary[max(summary)] if summary else "{}",
                "logLineCount": 0,
                "historyLineCount": len(history),
                "eventsLineCount": len(events),
                "historyTail": json.dumps([history[max(history)]] if history else []),
                "eventsTail": json.dumps([events[max(events)]] if events else []),
                "config": json.dumps(run.config),
                "tags": run.tags,
                "notes": run.notes,
                "wandbConfig": json.dumps({"t": own["t"]} if "t" in own else {}),
            }
        return {"model": model}

    def _on_UpsertBucket(self, told):
        inserted = told["name"] not in self.runs
        run = self._made(told["project"], told["name"])
        run.config.update(json.loads(told.get("config") or "{}"))
        run.tags = told.get("tags") or run.tags
        run.notes, run.shown = told.get("notes") or run.notes, told.get("displayName") or run.shown
        project = {"id": "cHJvamVjdA==", "name": run.project, "entity": {"id": "ZW50", "name": ENTITY}}
        bucket = {
            "id": base64.b64encode(run.name.encode()).decode(),
            "name": run.name,
            "displayName": run.shown,
            "description": run.notes,
            "config": json.dumps(run.config),
            "sweepName": None,
            "project": project,
            "historyLineCount": len(run.lines(HISTORY)),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _on_RunState(self, _):
        return {"project": {"run": {"stopped": False}}}

    def _on_RunStoppedStatus(self, _):
        return {"project": {"run": {"stopped": False}}}

    def _on_CreateRunFiles(self, asked):
        files = [
            {"name": name, "uploadUrl": f"{self.url}/runs/{asked['run']}/{name}"} for name in asked["files"]
        ]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}

    def _on_Run(self, asked):
        run = self.runs.get(asked["name"])
        told = run and {
            "id": base64.b64encode(run.name.encode()).decode(),
            "projectId": "1",
            "name": run.name,
            "displayName": run.shown,
            "state": "running" if run.exit_code is None else "finished",
            "config": json.dumps(run.config),
            "tags": run.tags,
            "summaryMetrics": "{}",
            "systemMetrics": "{}",
            "historyLineCount": len(run.lines(HISTORY)),
            "historyKeys": {"lastStep": max((row["_step"] for row in run.rows()), default=-1)},
        }
        return {"project": {"run": told}}

    def _on_RunHistoryKeys(self, asked):
        return self._on_Run(asked)

    def _on_RunParquetHistory(self, asked):
        run = self.run(asked["runName"])
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": run.rows()}}}}

    def _on_HistoryPage(self, asked):
        rows = [
            row for row in self.run(asked["run"]).rows() if asked["minStep"] <= row["_step"] < asked["maxStep"]
        ]
        return {"project": {"run": {"history": [json.dumps(row) for row in rows[: asked["pageSize"]]]}}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """A connection that is cut is no news here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.stand = self.server.stand
        self.stand._connections.add(self.connection)

    def finish(self):
        self.stand._connections.discard(self.connection)
        super().finish()

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self._admitted():
            told = json.loads(body)
            is_graphql = self.path == "/graphql"
            self._answer(200, self.stand.graphql(told) if is_graphql else self.stand.stream(self.path, told))

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.stand.mood in (OK, MUTE):
            self.stand.upload(self.path, body)
        self._answer(500 if self.stand.mood == FAILING else 200, {})

    def do_GET(self):
        self._answer(404, {})

    def _admitted(self):
        """Return whether the request is to be answered; answer it where the server is in trouble."""
        if self.stand.mood == SILENT:
            self._answer(200, {})
            return False
        if self.stand.mood == FAILING:
            self._answer(500, {"error": "internal"})
            return False
        expected = base64.b64encode(f"api:{self.stand.key}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            self._answer(401, {"errors": [{"message": "user is not logged in"}]})
            return False
        return True

    def _answer(self, code, told):
        if self.stand.mood in (SILENT, MUTE):  # until the other side has had enough
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.recv(1)
            return
        data = json.dumps(told).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
