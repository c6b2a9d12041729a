"""`clsweep status` of an object store, behind real HTTP: what a disk does not have."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow.fs
import pytest

from clsweep.execution.trial_record import record_of
from clsweep.status.reader import StatusReader
from clsweep.status.snapshot import SnapshotReader
from clsweep.storage import lock, remote_path
from clsweep.storage.lock import LOCK, LeaseWatch
from clsweep.storage.remote_path import RemotePath, place_of
from clsweep.storage.store import Store
from clsweep.study.configurations import configurations
from tests.support.command_line import CommandLine
from tests.support.object_stores import Denying, ObjectStore, asked_once, object_store
from tests.support.study_folders import USER, BucketFolder


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with object_store() as store:
        yield store


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SETTLED_AFTER", 0.0)
    monkeypatch.setattr(lock, "RENEWED_EVERY", 0.1)
    monkeypatch.setattr(lock, "WATCHED_FOR", 2.0)


@pytest.fixture
def folder(server: ObjectStore, request: pytest.FixtureRequest) -> Iterator[BucketFolder]:
    made = BucketFolder(server, request.node.name)
    yield made
    made.store.close()


def test_the_lease_says_who_is_at_work_and_since_when(folder: BucketFolder) -> None:
    written = folder.place.stamp  # a place itself is no object
    with pytest.raises(FileNotFoundError):
        written()
    seen = folder.status()
    assert seen.holder.startswith("process ")
    assert abs(folder.began - time.time()) < 60
    folder.store.close()
    seen = folder.status()
    assert (seen.state, seen.holder, seen.held_since) == ("stopped", "", None)
    assert (seen.exit_code, seen.n_to_come) == (3, 8)


def test_a_lease_that_was_left_behind_is_watched_first(folder: BucketFolder) -> None:
    folder.kill()
    asked_at = time.monotonic()
    assert folder.status().state == "stopped"
    assert time.monotonic() - asked_at > lock.WATCHED_FOR


def test_credentials_are_not_shown(folder: BucketFolder) -> None:
    assert folder.status().folder.startswith("s3://***@bucket/")


# ------------------------------------------------------------------------ records and tables


def _statuses(folder: BucketFolder) -> dict[str, str]:
    """What the reader of a watcher finds, checked against that of a run."""
    found = {k: one.status for k, one in SnapshotReader(folder.place).read().ended.items()}
    assert found == Store(folder.place, read_only=True).statuses()
    return found


class Killed(BaseException):
    """Stands for a process that ends here."""


@pytest.mark.parametrize("stop_at", [1, 2, 3, 4, 5])
def test_wherever_a_fold_is_cut_short(
    folder: BucketFolder, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    folder.end(0, at=1, status="failed")
    folder.store.compact()
    folder.end(0, at=2)
    folder.end(1, at=2, status="oom")
    write, names = RemotePath.write_bytes, list[str]()

    def counted(path: RemotePath, data: bytes) -> None:
        if threading.current_thread() is threading.main_thread():
            names.append(path.name)
            if len(names) == stop_at:
                raise Killed
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(RemotePath, "write_bytes", counted)
        try:
            folder.store.compact()
        except Killed:
            assert stop_at < 5
    assert len(names) == min(stop_at, 4)
    assert sorted(_statuses(folder).values()) == ["ok", "oom"]
    assert folder.status().last_record_at == folder.iso(2)


def test_a_folder_that_went_on_on_a_disk_and_came_back(
    folder: BucketFolder, tmp_path: Path
) -> None:
    early, late = "2025-01-01T00:00:00+00:00", "2025-02-01T00:00:00+00:00"
    folder.end(0, status="failed", finished_at=early)
    folder.end(1, status="failed", finished_at=late)
    watcher = SnapshotReader(folder.place)
    assert len(watcher.read().ended) == 2
    disk = Store(tmp_path)
    for index, at in ((0, late), (1, early), (2, early)):
        configuration = configurations(folder.study)[index]
        rows = [(1, t, "validation", 3, 4) for t in (0, 1)]
        record = record_of(configuration, 0, "ok", accuracy=rows, message="")
        record["trial"]["finished_at"] = at
        disk.commit(record)
    disk.compact()
    for path in tmp_path.glob("*.parquet"):
        (folder.place / path.name).write_bytes(path.read_bytes())
    first, second, third = (f"{c.id}-0" for c in configurations(folder.study)[:3])
    expected = {first: "ok", second: "failed", third: "ok"}
    assert _statuses(folder) == expected
    assert {key: one.status for key, one in watcher.read().ended.items()} == expected


def test_tables_that_another_driver_has_replaced_by_older_ones(folder: BucketFolder) -> None:
    folder.end(0, at=1, status="failed")
    folder.store.compact()
    older = (folder.place / "trials.parquet").read_bytes()
    folder.end(0, at=2)
    folder.store.compact()
    assert [*_statuses(folder).values()] == ["ok"]
    (folder.place / "trials.parquet").write_bytes(older)
    assert [one.status for one in SnapshotReader(folder.place).read().ended.values()] == ["ok"]


def test_what_has_not_changed_is_not_read_again(
    folder: BucketFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.end(0, at=1)
    folder.store.compact()
    folder.end(1, at=2, status="failed")
    folder.start(2, at=2)
    folder.kill()
    real, read = RemotePath.read_bytes, list[str]()

    def noted(path: RemotePath) -> bytes:
        read.append(path.name)
        return real(path)

    reader = StatusReader(folder.place)
    monkeypatch.setattr(RemotePath, "read_bytes", noted)
    compacted = f"{configurations(folder.study)[0].id}-0.json"
    assert reader.read(0.0).n_done == 2
    assert compacted not in read
    read.clear()
    seen = reader.read(0.0)
    assert (seen.n_done, seen.n_running, seen.n_to_come, seen.n_left_behind) == (2, 0, 6, 1)
    assert read == [LOCK]
    read.clear()
    ended = folder.end(2, at=3)
    seen = reader.read(0.0)
    assert (seen.n_done, seen.n_running, seen.n_to_come, seen.n_left_behind) == (3, 0, 5, 0)
    assert read == [LOCK, ended.name]
    ended.unlink()  # as a run does that sets it aside
    assert reader.read(0.0).n_done == 2


# ------------------------------------------------------------------------------------- the lease


class Clock:
    """Time that passes only where somebody sleeps, and what happens meanwhile."""

    def __init__(self, folder: RemotePath) -> None:
        self.folder, self.now, self.later = folder, 0.0, dict[float, bytes]()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for at in [at for at in self.later if at <= self.now]:
            self.write(self.later.pop(at))

    def write(self, lease: bytes) -> None:
        if lease:
            (self.folder / LOCK).write_bytes(lease)
        else:
            (self.folder / LOCK).unlink()


@pytest.fixture
def clock(
    server: ObjectStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Clock:
    place = place_of(server.uri(quote(request.node.name)))
    assert isinstance(place, RemotePath)
    monkeypatch.setattr(lock, "WATCHED_FOR", 10.0)
    made = Clock(place)
    monkeypatch.setattr(lock, "time", made)
    return made


def _lease(count: int, nonce: str = "n") -> bytes:
    lease = {"holder": "process 1 on x", "nonce": nonce, "count": count, "taken_at": 7.0}
    return json.dumps(lease).encode()


def test_no_lease_is_free_at_once(clock: Clock) -> None:
    watch = LeaseWatch(clock.folder)
    assert watch.read() == ("free", "", None)
    clock.write(_lease(1))
    assert watch.read() == ("held", "process 1 on x", 7.0)
    clock.write(b"")
    assert watch.read() == ("free", "", None)
    assert clock.now == 0.0


@pytest.mark.parametrize(
    ("later", "state", "after"),
    [
        ({}, "free", 10.0),
        ({2.5: _lease(2)}, "held", 3.0),
        ({9.5: _lease(2)}, "held", 10.0),
        ({4.0: b""}, "free", 4.0),
    ],
    ids=["killed", "renewed", "renewed at last", "released"],
)
def test_the_first_look_waits_until_it_knows(
    clock: Clock, later: dict[float, bytes], state: str, after: float
) -> None:
    clock.write(_lease(1))
    clock.later = dict(later)
    found = LeaseWatch(clock.folder).read()
    assert (found.state, clock.now) == (state, after)
    assert found.holder == ("" if later.get(4.0) == b"" else "process 1 on x")


def test_later_looks_wait_for_nothing(clock: Clock) -> None:
    clock.write(_lease(1))
    clock.later = {1.0: _lease(2)}
    watch = LeaseWatch(clock.folder)
    assert watch.read().state == "held"
    for seconds, lease, state in (
        (5.0, None, "held"),  # a renewal may be late
        (4.9, None, "held"),
        (0.1, None, "free"),  # unchanged for as long as a lease is watched
        (99.0, None, "free"),
        (1.0, _lease(3), "held"),  # its holder had only stood still
        (60.0, _lease(1, "another"), "held"),
        (60.0, None, "free"),
    ):
        clock.now += seconds
        if lease is not None:
            clock.write(lease)
        before = clock.now
        assert (watch.read().state, clock.now) == (state, before)


@pytest.mark.parametrize(
    "taken_at", ['"x"', "null", "1e400", "NaN", "-1", "9" * 400, "[]", "1e12"]
)
def test_a_lease_that_says_nonsense(clock: Clock, taken_at: str) -> None:
    clock.write(f'{{"holder": "a\\u001b[2J", "taken_at": {taken_at}}}'.encode())
    assert LeaseWatch(clock.folder).read() == ("free", "a\\x1b[2J", None)


# ------------------------------------------------------------------------------------ the command


def test_what_is_no_results_folder(server: ObjectStore, cli: CommandLine) -> None:
    (place_of(server.uri("other")) / "mine.txt").write_bytes(b"mine")
    cli("status", server.uri("other", user=USER)).is_mistake("holds no study.toml", "bucket/other")
    ran = cli("status", server.uri("nowhere", user=USER))
    ran.is_mistake("does not exist", "clsweep run")
    assert "hunter" not in ran.err
    cli("status", server.uri("x", bucket="no-bucket")).is_mistake("does not exist", "no-bucket")
    cli("status", "hdfs://host/x").is_mistake("names no place")


def test_a_store_that_permits_nothing(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    denying = pyarrow.fs.PyFileSystem(Denying())
    monkeypatch.setattr(remote_path, "_opened", lambda uri: (denying, "bucket/x"))
    ran = cli("status", "s3://me:hunter2@bucket/x")
    ran.is_mistake("ACCESS_DENIED", "check the credentials in the environment")
    assert "hunter2" not in ran.err


def test_a_store_that_does_not_answer(cli: CommandLine) -> None:
    with object_store() as gone:
        uri = gone.uri("x", user=USER)
    with asked_once():
        ran = cli("status", uri)
    ran.is_mistake(
        "does not let this be read", "NETWORK_CONNECTION", "check that the store answers"
    )
    assert "hunter" not in ran.err
