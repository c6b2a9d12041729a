"""One driver per results folder where there is no flock."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from clsweep.errors import StoreError
from clsweep.storage import lock
from clsweep.storage.lock import LOCK, Lease
from clsweep.storage.remote_path import RemotePath, place_of
from tests.support.object_stores import ObjectStore, asked_once, object_store

EVERY = 0.1


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with object_store() as store:
        yield store


@pytest.fixture
def folder(
    server: ObjectStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> RemotePath:
    monkeypatch.setattr(lock, "RENEWED_EVERY", EVERY)
    monkeypatch.setattr(lock, "WATCHED_FOR", 20 * EVERY)
    monkeypatch.setattr(lock, "SETTLED_AFTER", 2 * EVERY)
    place = place_of(server.uri(quote(request.node.name)))
    assert isinstance(place, RemotePath)
    return place


def lie_there(folder: RemotePath, **lease: object) -> None:
    (folder / LOCK).write_bytes(json.dumps(lease).encode())


def eventually(condition) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_second_is_refused_and_told_who_the_first_is(folder, monkeypatch):
    # Nothing asks what time it is: clocks that jump do no harm.
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(lock, "time", clock)
    first = Lease(folder)
    for _ in range(2):
        with pytest.raises(StoreError, match=f"another run is writing.*process {os.getpid()} on"):
            Lease(folder)
    first.check()
    assert first.lost == ""
    first.release()
    assert not (folder / LOCK).is_file()
    Lease(folder).release()


def test_a_lease_says_from_the_beginning_when_the_store_saw_it_taken(folder, server):
    before = time.time()
    first = Lease(folder)
    after = time.time()
    written = [json.loads((folder / LOCK).read_bytes())]
    eventually(lambda: json.loads((folder / LOCK).read_bytes())["count"] > 12)  # > 1 s later
    written.append(json.loads((folder / LOCK).read_bytes()))
    first.release()
    assert written[0]["taken_at"] == written[1]["taken_at"]
    # Whole seconds, of the clock that the objects' own times are of.
    assert int(before) <= written[0]["taken_at"] <= after
    assert written[0]["taken_at"] == int(written[0]["taken_at"])


def test_a_lease_that_is_deleted_before_its_time_is_known_learns_it_later(folder, monkeypatch):
    real, asked = RemotePath.stamp, []

    def gone_at_first(path):
        asked.append(path.name)
        if len(asked) < 3:
            raise FileNotFoundError
        return real(path)

    monkeypatch.setattr(RemotePath, "stamp", gone_at_first)
    lease = Lease(folder)
    eventually(lambda: json.loads((folder / LOCK).read_bytes())["taken_at"])
    assert asked == [LOCK] * 3
    lease.release()


def test_the_lease_of_a_process_that_was_killed_is_taken_over_after_it_was_watched(folder):
    lie_there(folder, holder="process 1 on elsewhere", nonce="dead", count=7)
    began = time.monotonic()
    lease = Lease(folder)
    assert time.monotonic() - began > 20 * EVERY
    lease.check()
    lease.release()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff"])
def test_a_lease_that_cannot_be_read_counts_until_it_was_watched(folder, content):
    (folder / LOCK).write_bytes(content)
    Lease(folder).release()


def test_whoever_was_overtaken_knows_it_and_leaves_the_other_alone(folder):
    lease = Lease(folder)
    lie_there(folder, holder="process 1 on elsewhere", nonce="other", count=1)
    eventually(lambda: lease.lost)
    assert "process 1 on elsewhere" in lease.lost
    with pytest.raises(StoreError, match="process 1 on elsewhere"):
        lease.check()
    lease.release()
    assert json.loads((folder / LOCK).read_bytes())["nonce"] == "other"


def test_a_lease_that_somebody_deleted_is_written_again(folder):
    lease = Lease(folder)
    (folder / LOCK).unlink(missing_ok=True)
    eventually(lambda: (folder / LOCK).is_file())
    lease.check()
    lease.release()


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_who_come_at_the_same_instant_at_most_one_gets_it(folder, stale):
    if stale:
        lie_there(folder, holder="process 1 on elsewhere", nonce="dead", count=7)
    together = threading.Barrier(5)
    won: list[Lease] = []
    refused: list[str] = []

    def come() -> None:
        together.wait()
        try:
            won.append(Lease(folder))
        except StoreError as error:
            refused.append(error.found)

    threads = [threading.Thread(target=come) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) + len(refused) == 5
    # A request that took longer than the others waited shows as a second winner, who learns of
    # it with the next renewal.
    eventually(lambda: sum(not lease.lost for lease in won) <= 1)
    assert all(f"process {os.getpid()} on" in found for found in refused)
    assert len(won) >= 1
    for lease in won:
        lease.release()


def test_release_without_an_answer_is_quiet():
    store = ObjectStore()
    with asked_once(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock, "SETTLED_AFTER", 0.0)
        lease = Lease(place_of(store.uri("x")))
        store.stop()
        lease.release()
        assert lease.lost == ""
