"""A server of sweeps in this process, and a browser's requests to it."""

from __future__ import annotations

import http.client
import json
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from clsweep.execution.trial_record import record_of
from clsweep.live.server import LiveServer, opened_server
from clsweep.live.watched_sweep import WatchedSweep
from clsweep.storage.remote_path import Place
from clsweep.storage.store import commit_record
from clsweep.study.configurations import configurations
from tests.support.records import split_rows
from tests.support.study_folders import StudyFolder


class Got(NamedTuple):
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.body)


class Browser:
    """Asks a server, with the cookie that it was given."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.token = server.url.partition("token=")[2]
        self.cookie = ""

    def ask(self, path: str, method: str = "GET", **headers: str) -> Got:
        """One request."""
        line = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        sent = {"Cookie": self.cookie} if self.cookie else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        line.request(method, path, headers=sent)
        answer = line.getresponse()
        got = Got(answer.status, dict(answer.getheaders()), answer.read())
        line.close()
        return got

    def enter(self) -> Browser:
        """Open the printed address."""
        got = self.ask(f"/?token={self.token}")
        assert (got.status, got.headers["Location"]) == (303, "./")
        self.cookie = got.headers["Set-Cookie"].partition(";")[0]
        return self


def read_always(place: Place) -> WatchedSweep:
    """A folder that is read whenever somebody asks."""
    watched = WatchedSweep(place)
    watched.refreshed_after, watched.share_of_reading = 0.0, math.inf
    return watched


@contextmanager
def served(*places: Place) -> Iterator[Browser]:
    """A server for the length of the block, which reads a folder whenever it is asked."""
    watched = [read_always(place) for place in places]
    with opened_server(watched, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
        thread.start()
        yield Browser(server)
        server.shutdown()
        thread.join()


def finish(
    folder: StudyFolder,
    index: int,
    seed: int = 0,
    validation: tuple[float, float] = (0.9, 0.8),
    test: tuple[float, float] = (0.5, 0.5),
    at: str = "2025-01-01T00:00:00+00:00",
    **fields: Any,
) -> None:
    """Let a trial of a folder's study end with accuracies (source, target) of each split."""
    configuration = configurations(folder.study)[index]
    rows = split_rows(validation, test)
    record: Any = record_of(configuration, seed, "ok", accuracy=rows, message="")
    record["trial"].update(finished_at=at, **fields)
    folder._dated(commit_record(folder.place, record), 1.0 + index)
