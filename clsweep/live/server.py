"""The server: HTTP by the standard library, for a few browsers of one user on one machine.

Every request is checked in this order: its method, the name in `Host`, the cookie or the token.
Only then its path is read. Nothing of a request is written down, since an address holds the token.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import socketserver
import sys
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from clsweep.errors import StoreError
from clsweep.live.access import Access, new_token
from clsweep.live.answering import Answer, Answering, message_page, packed, redirect
from clsweep.live.watched_sweep import WatchedSweep
from clsweep.text import printable

PORT = 8642
_IDLE_SECONDS = 30.0
_READ_ONLY = ("GET", "HEAD")
_ALWAYS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Vary": "Cookie, Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class LiveServer(ThreadingHTTPServer):
    """Listens from its making on; answers within `serve_forever`.

    Args:
        watched: the folders.
        host: the address to listen on.
        port: 0 for any that is free.

    Attributes:
        host: as given.
        access: who may read.
        answering: what they get.

    Raises:
        OSError: the address cannot be had.
    """

    daemon_threads = True  # a browser that keeps its connection holds nothing up
    # Else a second server takes the port of one that listens, on some systems.
    allow_reuse_address = True

    def __init__(self, watched: Sequence[WatchedSweep], host: str, port: int) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)
        self._token = new_token()
        self.access = Access(self._token, host, self.port)
        self.answering = Answering(watched)
        self.host = host

    @property
    def port(self) -> int:
        """On which it listens."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """The address with the token, as this machine reaches it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(self.host, self.host)
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self.port}/?token={self._token}"

    def server_bind(self) -> None:
        """Bind, without asking a name server for this machine's name as HTTPServer does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.port

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has gone; anything else is a fault of ours."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def opened_server(watched: Sequence[WatchedSweep], host: str, port: int | None) -> LiveServer:
    """A server that listens.

    Args:
        watched: the folders.
        host: the address to listen on.
        port: of the user's choice; None for the usual one, or any other if that is taken.

    Raises:
        StoreError: the address is another's, or the port is taken.
    """
    try:
        return LiveServer(watched, host, PORT if port is None else port)
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES)
        if port is None and taken:
            with contextlib.suppress(OSError):
                return LiveServer(watched, host, 0)
        where = f"--host {host}" if port is None else f"--host {host} --port {port}"
        raise _refused(error, where, taken) from error


def _refused(error: Exception, where: str, taken: bool) -> StoreError:
    reason = getattr(error, "strerror", None) or str(error)
    return StoreError(
        f"cannot listen there: {reason}",
        expected="a port that no other program has, and an address of this machine",
        where=printable(where, one_line=True),
        next_step="leave --port out, and one that is free is taken"
        if taken
        else "leave --host out, and this machine alone can read",
    )


class _Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    server: LiveServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        self._send(self._answer())

    do_HEAD = do_GET

    def __getattr__(self, name: str) -> Any:
        # What `http.server` looks up for any other method.
        if name.startswith("do_"):
            return self._refuse_method
        raise AttributeError(name)

    def _refuse_method(self) -> None:
        self.close_connection = True  # a body that is not read stands before the next request
        refused = message_page(405, "This server only reads", "It answers GET and HEAD.")
        self._send(Answer(405, refused.body, {**refused.headers, "Allow": ", ".join(_READ_ONLY)}))

    def _answer(self) -> Answer:
        access = self.server.access
        if not access.is_own_name(self.headers.get("Host", "")):
            return message_page(
                421, "Not by this name", "Use the address that `clsweep serve` has printed."
            )
        path, _, query = self.path.partition("?")
        tokens = [value for key, value in parse_qsl(query) if key == "token"]
        if any(not access.is_token(token) for token in tokens):
            return _no_token("The token in the address is not that of this server. ")
        if tokens:
            answer = redirect("./")
            return Answer(303, headers={**answer.headers, "Set-Cookie": access.set_cookie})
        if not access.is_known(self.headers.get("Cookie", "")):
            return _no_token("")
        return self.server.answering.answer(path, query, self.command == "HEAD")

    def _send(self, answer: Answer) -> None:
        tag = answer.tag
        if answer.status == 200 and tag in self.headers.get("If-None-Match", ""):
            answer = Answer(304, headers={**answer.headers})
        answer = packed(answer, self.headers.get("Accept-Encoding", ""))
        self.send_response(answer.status)
        for name, value in {**_ALWAYS, **answer.headers}.items():
            self.send_header(name, value)
        is_head = self.command == "HEAD"
        is_unmade = is_head and not answer.body  # what GET would send is not known
        if answer.status in (200, 304) and not is_unmade:
            self.send_header("ETag", tag)
        if answer.status != 304 and not is_unmade:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if not is_head:
            self.wfile.write(answer.body)

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """What `http.server` says of requests that are none, with our headers and no page."""
        self.close_connection = True
        self.send_response(code, message)
        for name, value in {**_ALWAYS, "Content-Length": "0", "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def version_string(self) -> str:
        """Which server it is, and no version of anything."""
        return "clsweep"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: an address may hold the token."""


def _no_token(what: str) -> Answer:
    return message_page(
        int(HTTPStatus.FORBIDDEN),
        "This page needs its token",
        f"{what}Open the whole address that `clsweep serve` has printed, with all that stands "
        "behind the question mark. Every start of the command has another token. It is exchanged "
        "for a cookie, which curl has to be told to keep: curl -L -c jar -b jar 'ADDRESS'",
    )
