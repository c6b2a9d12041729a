"""An S3-speaking server on loopback, and places in its buckets."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cache
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import boto3
import pyarrow.fs
import pytest
from flask import Flask
from moto.core import DEFAULT_ACCOUNT_ID, serialize
from moto.s3.models import s3_backends
from moto.server import MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from clsweep.storage import remote_path

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}


# A listing has the times of all objects, and a test lists the same ones many times.
serialize.parse_to_aware_datetime = cache(serialize.parse_to_aware_datetime)


_TURN = Lock()


@cache
def _s3() -> Flask:
    """Moto's S3 without its dispatcher, which looks for the service of each request.

    It answers one request at a time: moto reads an object from the buffer into which it writes.
    """
    app = create_backend_app("s3")
    answer = app.wsgi_app

    def in_turn(environ: dict[str, Any], start: Any) -> list[bytes]:
        with _TURN:
            return _of_object(environ, start) or [b"".join(answer(environ, start))]

    app.wsgi_app = in_turn  # type: ignore[method-assign]
    return app


def _of_object(environ: dict[str, Any], start: Any) -> list[bytes] | None:
    """What moto answers who asks for an object, or whether there is one; None to other requests.

    Most requests ask for that, and moto's own way through Flask takes ten times as long.
    """
    is_short = environ["REQUEST_METHOD"] == "HEAD"
    if not (is_short or environ["REQUEST_METHOD"] == "GET") or environ["QUERY_STRING"]:
        return None
    path = environ["PATH_INFO"].encode("latin-1").decode()
    bucket, _, name = path.removeprefix("/").partition("/")
    held = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets.get(bucket)
    found = held.keys.get(name) if held and name else None
    if found is None and held and name and is_short:
        start("404 Not Found", [("Content-Length", "0")])
        return [b""]
    if found is None:
        return None
    data, status = bytes(found.value), "200 OK"
    headers = {
        "Content-Type": "binary/octet-stream",
        "ETag": found.etag,
        "Last-Modified": found.last_modified_RFC1123,
        "Accept-Ranges": "bytes",
    }
    if asked := re.fullmatch(r"bytes=(\d+)-(\d+)", environ.get("HTTP_RANGE", "")):
        first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
        if first > last:
            return None
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        data, status = data[first : last + 1], "206 Partial Content"
    headers["Content-Length"] = str(len(data))
    start(status, list(headers.items()))
    return [b"" if is_short else data]


class ObjectStore:
    """A server that can go away and come back with what it held.

    All servers of a process hold the same: moto keeps it in the process.
    """

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.start()
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        self.client.create_bucket(Bucket="bucket")

    def start(self) -> None:
        """Answer from now on; what was held before is held again."""
        self._server = make_server(
            "127.0.0.1", self.port, _s3(), threaded=True, request_handler=MotoRequestHandler
        )
        self._thread = Thread(target=self._server.serve_forever, args=[0.05], daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._thread.join()

    def uri(self, path: str, user: str = "", bucket: str = "bucket") -> str:
        """`s3://…` of a path in the bucket."""
        endpoint = quote(f"http://127.0.0.1:{self.port}", safe="/")
        return f"s3://{user}{bucket}/{path}?endpoint_override={endpoint}&scheme=http"

    def keys(self, path: str) -> list[str]:
        """Names of all objects below a path, without it."""
        with _TURN:
            found = sorted(key for key in self._held if key.startswith(f"{path}/"))
        return [key.removeprefix(f"{path}/") for key in found if not key.endswith("/")]

    def content(self, path: str) -> bytes:
        """One object's."""
        with _TURN:
            return bytes(self._held[path].value)

    def set_time(self, path: str, seconds: float) -> None:
        """Let an object have been written at a time, in seconds since 1970."""
        key = self._held[path]
        key.last_modified = datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None)

    def all_bytes(self) -> bytes:
        """Names and contents of everything."""
        with _TURN:
            keys = sorted(self._held)
        return b"\n".join(key.encode() + b"\n" + self.content(key) for key in keys)

    @property
    def _held(self) -> Any:
        """Key -> what moto holds in this process; asking it over HTTP takes ten times as long."""
        return s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets["bucket"].keys


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A server for the length of the block; its credentials are in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        store = ObjectStore()
        try:
            yield store
        finally:
            store.stop()


@contextmanager
def asked_once() -> Iterator[None]:
    """Stores that do not answer are asked once in the block; pyarrow asks for six seconds."""

    def opened(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
        parts = urlsplit(uri)
        user, _, bucket = parts.netloc.rpartition("@")
        query = {key: value for key, (value,) in parse_qs(parts.query).items()}
        key, _, secret = user.partition(":")
        store = pyarrow.fs.S3FileSystem(
            access_key=unquote(key) or None,
            secret_key=unquote(secret) or None,
            endpoint_override=query["endpoint_override"],
            scheme=query["scheme"],
            region="us-east-1",
            retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=1),
        )
        return store, bucket + unquote(parts.path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote_path, "_opened", opened)
        yield


class Denying(pyarrow.fs.FileSystemHandler):
    """A store that refuses everything: the bucket's server on loopback asks for no permission."""

    def _no(self, *args, **kwargs):
        raise OSError("AWS Error ACCESS_DENIED during X operation: key is hunter2 (Request ID: 7)")

    get_type_name = lambda self: "denying"  # noqa: E731
    normalize_path = lambda self, path: path  # noqa: E731
    get_file_info = get_file_info_selector = create_dir = delete_dir = delete_dir_contents = _no
    delete_root_dir_contents = delete_file = move = copy_file = _no
    open_input_stream = open_input_file = open_output_stream = open_append_stream = _no
