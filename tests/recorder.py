"""An HTTP server that records complete requests and gives the same answer to all."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Recorder:
    """The server. ``requests``: the bytes of each request, with headers; ``answer``: status and body."""

    def __init__(self, answer=(404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "nothing"}')):
        recorder = self
        self.requests = []

        class Handler(BaseHTTPRequestHandler):
            def _any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                head = f"{self.requestline}\n{self.headers}".encode()
                recorder.requests.append(head + body)
                code, text = answer
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = do_HEAD = _any

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
