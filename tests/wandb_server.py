"""A simulated W&B server: the part of its protocol that the real wandb package needs to deliver a run.

It keeps rows by (run, line), as W&B does: a line that is sent again replaces the earlier one, and
``overwritten`` records it if its content differs. ``fault`` selects how the server fails; ``shut_down`` closes
the listener and every connection. ``unknown`` records operations that this server does not implement.
"""

import base64
import contextlib
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.wandb_answers import Answers, Run

OK = ""
FAILING = "answers 500"
SILENT = "accepts and never answers"
MUTE = "stores everything and never answers"


class WandbServer(Answers):
    """Listens on loopback, in threads of this process."""

    def __init__(self, key):
        self.key = key
        self.fault = OK
        self.runs = {}
        self.artifacts = {}
        self.asked = []  # operations and paths, in order
        self.answered = []  # operations whose answer went out
        self.unknown = []
        self.refused = set()  # operations, or "file_stream"
        self.rejects = lambda name, variables: False  # an operation, or the upload of a file
        self.deleted = set()  # the names of deleted runs
        self._lock = threading.RLock()
        self._connections = set()
        self._server = None
        self.port = 0
        self.listen()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def listen(self):
        """Listen, after the first time on the same port."""
        assert self._server is None
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.stand = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def shut_down(self):
        """Stop listening, and close every connection."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        with self._lock:
            for connection in list(self._connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def delete(self, name):
        """Delete a run permanently, as a user does on W&B's page."""
        self.runs.pop(name, None)
        self.deleted.add(name)

    def creates_deleted(self, sent):
        """Return whether the request would create a deleted run again."""
        return operation(sent) == "UpsertBucket" and sent["variables"]["name"] in self.deleted

    def run(self, name):
        """Return the run of this id, or an empty one."""
        return self.runs.get(name) or Run("", name)

    # Its answers

    def graphql(self, sent):
        name = operation(sent)
        answer = getattr(self, f"_on_{name}", None)
        with self._lock:
            self.asked.append(name)
            if name in self.refused or self.rejects(name, sent.get("variables") or {}):
                return {"errors": [{"message": f"{name} is not taken here"}]}
            if answer is None:
                self.unknown.append(name)
                return {"errors": [{"message": f"Cannot query {name}"}]}
            return {"data": answer(sent.get("variables") or {})}

    def stream(self, path, sent):
        project, name = path.strip("/").split("/")[2:4]
        with self._lock:
            self.asked.append("file_stream")
            self._ensure_run(project, name).take(sent)
        return {}

    def upload(self, path, data):
        _, kind, owner, name = path.split("/", 3)
        with self._lock:
            self.asked.append(f"PUT {name}")
            if kind == "runs":
                self.runs[owner].uploads[name] = data
            else:
                self.artifacts[owner]["files"][name] = data

    def _ensure_run(self, project, name):
        if name not in self.runs:
            self.runs[name] = Run(project, name)
        return self.runs[name]


def operation(sent):
    """Return the name of a GraphQL request's operation."""
    found = re.search(r"(?:query|mutation)\s+(\w+)", sent["query"])
    return found.group(1) if found else ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """Ignore errors: tests cut connections."""


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
        stream = self.path.endswith("/file_stream")
        if stream and ("file_stream" in self.stand.refused or self.path.split("/")[-2] in self.stand.deleted):
            self._answer(404, {})
        elif self._admitted():
            sent = json.loads(body)
            is_graphql = self.path == "/graphql"
            if is_graphql and self.stand.creates_deleted(sent):
                self._answer(409, {"errors": [{"message": "run was previously created and deleted"}]})
                return
            self._answer(200, self.stand.graphql(sent) if is_graphql else self.stand.stream(self.path, sent))
            if self.stand.fault == OK:
                self.stand.answered.append(operation(sent) if is_graphql else "file_stream")

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.stand.rejects("upload", {"path": self.path}):
            self._answer(403, {})
            return
        if self.stand.fault in (OK, MUTE):
            self.stand.upload(self.path, body)
        self._answer(500 if self.stand.fault == FAILING else 200, {})

    def do_GET(self):
        self._answer(404, {})

    def _admitted(self):
        """Return whether the request should be handled; if not, answer it as the fault or the key requires."""
        if self.stand.fault == SILENT:
            self._answer(200, {})
            return False
        if self.stand.fault == FAILING:
            self._answer(500, {"error": "internal"})
            return False
        expected = base64.b64encode(f"api:{self.stand.key}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            self._answer(401, {"errors": [{"message": "user is not logged in"}]})
            return False
        return True

    def _answer(self, code, content):
        if self.stand.fault in (SILENT, MUTE):  # wait until the other side closes the connection
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.recv(1)
            return
        data = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
