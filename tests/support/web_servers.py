"""A real HTTP server on loopback that takes JSON, or does not."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hook:
    """What arrives, and what is answered.

    Attributes:
        url: of the server; its path is a secret.
        statuses: of the next answers; when they are used up, 200.
        came: what was sent, in order.
        may_answer: cleared, the server takes a message and says nothing.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/services/hunter22?key=hunter33"
        self.statuses: list[int] = []
        self.came: queue.Queue[dict[str, Any]] = queue.Queue()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def next(self) -> dict[str, Any]:
        """What arrives next."""
        return self.came.get(timeout=60)


@contextmanager
def hook() -> Iterator[Hook]:
    """A server for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.came.put({**json.loads(body), "path": self.path})
            found.may_answer.wait(60)
            self.send_response(found.statuses.pop(0) if found.statuses else 200)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Hook(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.may_answer.set()
        server.shutdown()
        server.server_close()
        thread.join()
