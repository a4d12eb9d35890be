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

from tests.wandb_answers import Answers, Run

OK = ""
FAILING = "answers 500"
SILENT = "accepts and never answers"
MUTE = "takes it all and never answers"


class WandbServer(Answers):
    """Listens on loopback, in threads of this process."""

    def __init__(self, key):
        self.key = key
        self.mood = OK
        self.runs = {}
        self.artifacts = {}
        self.asked = []  # operations and paths, in order
        self.answered = []  # operations whose answer went out
        self.unknown = []
        self.refused = set()  # operations, or "file_stream"
        self.turns_down = lambda name, variables: False  # an operation, or the upload of a file
        self.deleted = set()  # runs that were, by name
        self._lock = threading.RLock()
        self._connections = set()
        self._server = None
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

    def delete(self, name):
        """Delete a run for good, as a person does on W&B's page."""
        self.runs.pop(name, None)
        self.deleted.add(name)

    def was_deleted(self, told):
        """Return whether a run that was deleted is to be made again."""
        return operation(told) == "UpsertBucket" and told["variables"]["name"] in self.deleted

    def run(self, name):
        """Return the run of this id, or an empty one."""
        return self.runs.get(name) or Run("", name)

    # What it answers

    def graphql(self, told):
        name = operation(told)
        answer = getattr(self, f"_on_{name}", None)
        with self._lock:
            self.asked.append(name)
            if name in self.refused or self.turns_down(name, told.get("variables") or {}):
                return {"errors": [{"message": f"{name} is not taken here"}]}
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
            else:
                self.artifacts[owner]["files"][name] = data

    def _made(self, project, name):
        if name not in self.runs:
            self.runs[name] = Run(project, name)
        return self.runs[name]


def operation(told):
    """Return the name of the operation a GraphQL request asks for."""
    found = re.search(r"(?:query|mutation)\s+(\w+)", told["query"])
    return found.group(1) if found else ""


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
        stream = self.path.endswith("/file_stream")
        if stream and ("file_stream" in self.stand.refused or self.path.split("/")[-2] in self.stand.deleted):
            self._answer(404, {})
        elif self._admitted():
            told = json.loads(body)
            is_graphql = self.path == "/graphql"
            if is_graphql and self.stand.was_deleted(told):
                self._answer(409, {"errors": [{"message": "run was previously created and deleted"}]})
                return
            self._answer(200, self.stand.graphql(told) if is_graphql else self.stand.stream(self.path, told))
            if self.stand.mood == OK:
                self.stand.answered.append(operation(told) if is_graphql else "file_stream")

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.stand.turns_down("upload", {"path": self.path}):
            self._answer(403, {})
            return
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
