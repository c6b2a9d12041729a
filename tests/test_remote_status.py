"""`clsweep status` of results in an object store, behind real HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pyarrow.fs
import pytest

from clsweep import cli_watching, folders, leases
from clsweep.attempts import mark_attempt
from clsweep.configurations import configurations, resolved_toml, study_identity
from clsweep.folders import RemotePath, place_of
from clsweep.leases import LOCK, LeaseWatch
from clsweep.records import record_of
from clsweep.snapshot import SnapshotReader
from clsweep.status import Status
from clsweep.status_reader import StatusReader
from clsweep.store import Store, commit_record
from clsweep.study import parse_study
from tests.command_line import TINY, CommandLine
from tests.object_stores import Denying, ObjectStore, object_store

USER = "AKIAKEY:hunter%2F2secret@"


class Folder:
    """Fine-tuning and three λ with two seeds in a bucket, and a run at work since second 0."""

    def __init__(self, server: ObjectStore, name: str, text: str = "") -> None:
        self.server, self.name, self.uri = server, name, server.uri(quote(name), user=USER)
        place = place_of(self.uri)
        assert isinstance(place, RemotePath)
        self.place = place
        text = text or TINY.format(seeds=2, net="hidden = [4]", steps=2, lam="[1.0, 10.0, 100.0]")
        self.study = parse_study(text)
        self.store = Store(self.place)
        study = self.study
        self.store.open_for_run(study_identity(study), resolved_toml(study), study.name)
        self.began = json.loads(server.content(f"{name}/{LOCK}"))["taken_at"]

    def start(self, index: int, seed: int = 0, at: float = 0.0) -> None:
        key = f"{configurations(self.study)[index].id}-{seed}"
        mark_attempt(self.place, key)
        self.server.set_time(f"{self.name}/records/{key}.attempts", self.began + at)

    def end(
        self, index: int, seed: int = 0, at: float = 0.0, status: str = "ok", **fields: Any
    ) -> RemotePath:
        rows = [] if status != "ok" else [(1, t, "validation", 3, 4) for t in (0, 1)]
        configuration = configurations(self.study)[index]
        record = record_of(configuration, seed, status, accuracy=rows, message="")
        record["trial"].update(fields)
        path = commit_record(self.place, record)
        self.server.set_time(f"{self.name}/records/{path.name}", self.began + at)
        assert isinstance(path, RemotePath)
        return path

    def kill(self) -> None:
        """End the run as a kill would: its lease stays."""
        lock = self.store._lock
        assert isinstance(lock, leases.Lease)
        lock._is_over.set()
        lock._renewal.join()

    def status(self, now: float = 0.0) -> Status:
        return StatusReader(self.place).read(self.began + now)


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with object_store() as store:
        yield store


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "SETTLED_AFTER", 0.0)
    monkeypatch.setattr(leases, "RENEWED_EVERY", 0.1)
    monkeypatch.setattr(leases, "WATCHED_FOR", 2.0)


@pytest.fixture
def folder(server: ObjectStore, request: pytest.FixtureRequest) -> Iterator[Folder]:
    made = Folder(server, request.node.name)
    yield made
    made.store.close()


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def _counts(seen: Status) -> tuple[int, ...]:
    return (seen.n_done, seen.n_running, seen.n_to_come, seen.n_left_behind)


# --------------------------------------------------------------------------------- what is counted


def test_done_running_and_to_come(folder: Folder) -> None:
    folder.start(0, at=1)
    folder.end(0, at=1)  # in the same second, which is all that a store tells
    folder.end(1, at=6, status="diverged")
    folder.end(1, seed=1, at=7, status="oom", message="too large")
    folder.start(2, at=0)  # in the very second in which the lease was taken
    folder.start(2, seed=1, at=7)
    folder.start(2, seed=1, at=9)
    folder.start(3, at=-20)
    seen = folder.status(now=16)
    assert (seen.n_trials, *_counts(seen)) == (8, 3, 2, 3, 1)
    assert (seen.n_ok, seen.n_diverged, seen.n_failed, seen.n_oom) == (1, 1, 0, 1)
    assert (seen.state, seen.exit_code) == ("running", 1)
    assert [(one.seed, one.seconds, one.n_starts) for one in seen.running] == [
        (0, 16.0, 1),
        (1, 7.0, 2),
    ]
    assert seen.running[0].configuration == "lam = 10"
    assert (seen.errors[0].message, seen.errors[0].configuration) == ("too large", "lam = 1")
    assert seen.trials_per_minute == pytest.approx(60 * 3 / 7)
    assert "hunter" not in seen.folder
    assert seen.folder.startswith("s3://***@bucket/")


def test_the_lease_says_who_is_at_work_and_since_when(folder: Folder) -> None:
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


def test_what_a_killed_run_leaves_is_not_running(folder: Folder) -> None:
    folder.start(0, at=2)
    folder.end(1, at=3)
    assert _counts(folder.status()) == (1, 1, 6, 0)
    folder.kill()
    asked_at = time.monotonic()
    seen = folder.status()
    assert time.monotonic() - asked_at > leases.WATCHED_FOR
    assert (seen.state, *_counts(seen)) == ("stopped", 1, 0, 7, 1)
    assert seen.holder.startswith("process ")
    assert seen.trials_per_minute is None


def test_a_trial_that_is_tried_again_is_running_and_not_done(folder: Folder) -> None:
    for index in (0, 1):
        folder.end(index, at=-20, status="failed")
    assert folder.store.compact() == 2
    folder.end(2, at=-10, status="failed")
    for index in (1, 2):
        folder.start(index, at=3)
    seen = folder.status()
    assert (*_counts(seen), seen.n_failed) == (1, 2, 5, 0, 1)


def test_a_search_is_counted_at_most(server: ObjectStore) -> None:
    text = TINY.format(seeds=2, net="hidden = [4]", steps=2, lam="{ low = 1, high = 1000 }")
    search = '[search]\nkind = "fill"\ntrials = 6\n[resources]'
    folder = Folder(server, "search", text.replace("[resources]", search))
    folder.end(0)
    seen = folder.status()
    assert (seen.n_trials, seen.n_done, seen.is_upper_limit) == (14, 1, True)
    folder.store.close()


# ------------------------------------------------------------------------ records and tables


def _statuses(folder: Folder) -> dict[str, str]:
    """What the reader of a watcher finds, checked against that of a run."""
    found = {k: one.status for k, one in SnapshotReader(folder.place).look().ended.items()}
    assert found == Store(folder.place, only_looks=True).statuses()
    return found


class Killed(BaseException):
    """Stands for a process that ends here."""


@pytest.mark.parametrize("stop_at", [1, 2, 3, 4, 5])
def test_wherever_a_fold_is_cut_short(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, stop_at: int
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
    assert folder.status().last_record_at == _time(folder.began + 2)


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000+00:00", time.gmtime(seconds))


def test_a_folder_that_went_on_on_a_disk_and_came_back(folder: Folder, tmp_path: Path) -> None:
    early, late = "2025-01-01T00:00:00+00:00", "2025-02-01T00:00:00+00:00"
    folder.end(0, status="failed", finished_at=early)
    folder.end(1, status="failed", finished_at=late)
    watcher = SnapshotReader(folder.place)
    assert len(watcher.look().ended) == 2
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
    assert {key: one.status for key, one in watcher.look().ended.items()} == expected


def test_tables_that_another_driver_has_replaced_by_older_ones(folder: Folder) -> None:
    folder.end(0, at=1, status="failed")
    folder.store.compact()
    older = (folder.place / "trials.parquet").read_bytes()
    folder.end(0, at=2)
    folder.store.compact()
    assert [*_statuses(folder).values()] == ["ok"]
    (folder.place / "trials.parquet").write_bytes(older)
    assert [one.status for one in SnapshotReader(folder.place).look().ended.values()] == ["ok"]


def test_a_torn_record_is_named_and_stays(folder: Folder, cli: CommandLine) -> None:
    folder.end(0)
    torn = folder.end(1)
    torn.write_bytes(b'{"schema": 1, "trial": {"tri')
    (torn.parent / "list.json").write_bytes(b"[]")
    (torn.parent / ".hidden.json").write_bytes(b"[]")
    folder.store.close()
    before = folder.server.all_bytes()
    ran = cli("status", folder.uri)
    assert ran.code == 3
    assert "1 of 8 trials done" in ran.out
    assert f"warning: the record of trial {torn.stem} cannot be read" in ran.out
    assert "trial list cannot be read" in ran.out
    assert "hunter" not in ran.out
    assert folder.server.all_bytes() == before


def test_what_has_not_changed_is_not_read_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
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
    folded = f"{configurations(folder.study)[0].id}-0.json"
    assert reader.read(0.0).n_done == 2
    assert folded not in read
    read.clear()
    assert _counts(reader.read(0.0)) == (2, 0, 6, 1)
    assert read == [LOCK]
    read.clear()
    ended = folder.end(2, at=3)
    assert _counts(reader.read(0.0)) == (3, 0, 5, 0)
    assert read == [LOCK, ended.name]
    ended.unlink()  # as a run does that sets it aside
    assert reader.read(0.0).n_done == 2


def test_what_has_changed_is_read_again(folder: Folder) -> None:
    folder.end(0, at=1, status="failed")
    folder.start(1, at=2)
    reader = StatusReader(folder.place)
    seen = reader.read(folder.began)
    assert (seen.n_failed, [one.n_starts for one in seen.running]) == (1, [1])
    folder.end(0, at=3)
    folder.start(1, at=4)
    seen = reader.read(folder.began)
    assert (seen.n_failed, [one.n_starts for one in seen.running]) == (0, [2])
    folder.store.compact()
    folder.end(0, at=5, status="oom")
    assert reader.read(folder.began).n_oom == 1


@pytest.mark.parametrize("moment", ["_latest_fold", "_listing", "_pending", "_started"])
def test_trials_are_not_lost_while_a_run_compacts(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    folder.end(3, at=1)
    folder.store.compact()
    for index in range(3):
        folder.start(index, at=1)
        folder.end(index, at=2)
    folder.start(0, seed=1, at=3)
    real = getattr(SnapshotReader, moment)

    def compacted_first(reader: SnapshotReader, *arguments: Any) -> Any:
        folder.store.compact()
        return real(reader, *arguments)

    monkeypatch.setattr(SnapshotReader, moment, compacted_first)
    assert _counts(folder.status()) == (4, 1, 3, 0)


def test_what_vanishes_between_listing_and_reading(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = folder.end(0, at=1)
    folder.start(1, at=1)
    real = SnapshotReader._listing

    def then_gone(reader: SnapshotReader) -> Any:
        listed = real(reader)
        for path in (folder.place / "records").glob("*"):
            path.unlink()
        return listed

    monkeypatch.setattr(SnapshotReader, "_listing", then_gone)
    assert _counts(folder.status()) == (0, 0, 8, 0)
    assert not ended.is_file()


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
    monkeypatch.setattr(leases, "WATCHED_FOR", 10.0)
    made = Clock(place)
    monkeypatch.setattr(leases, "time", made)
    return made


def _lease(count: int, nonce: str = "n") -> bytes:
    lease = {"holder": "process 1 on x", "nonce": nonce, "count": count, "taken_at": 7.0}
    return json.dumps(lease).encode()


def test_no_lease_is_free_at_once(clock: Clock) -> None:
    watch = LeaseWatch(clock.folder)
    assert watch.look() == ("free", "", None)
    clock.write(_lease(1))
    assert watch.look() == ("held", "process 1 on x", 7.0)
    clock.write(b"")
    assert watch.look() == ("free", "", None)
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
    found = LeaseWatch(clock.folder).look()
    assert (found.state, clock.now) == (state, after)
    assert found.holder == ("" if later.get(4.0) == b"" else "process 1 on x")


def test_later_looks_wait_for_nothing(clock: Clock) -> None:
    clock.write(_lease(1))
    clock.later = {1.0: _lease(2)}
    watch = LeaseWatch(clock.folder)
    assert watch.look().state == "held"
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
        assert (watch.look().state, clock.now) == (state, before)


@pytest.mark.parametrize(
    "taken_at", ['"x"', "null", "1e400", "NaN", "-1", "9" * 400, "[]", "1e12"]
)
def test_a_lease_that_says_nonsense(clock: Clock, taken_at: str) -> None:
    clock.write(f'{{"holder": "a\\u001b[2J", "taken_at": {taken_at}}}'.encode())
    assert LeaseWatch(clock.folder).look() == ("free", "a\\x1b[2J", None)


# ------------------------------------------------------------------------------------ the command


def test_json_has_every_number(folder: Folder, cli: CommandLine) -> None:
    folder.end(0, at=30)
    folder.end(1, at=60, status="failed", message="é")
    folder.start(2, at=50)
    ran = cli("status", folder.uri, "--json")
    assert ran.code == 1
    found = json.loads(ran.out)
    assert (found["study"], found["state"], found["n_trials"]) == ("tiny", "running", 8)
    assert (found["n_done"], found["n_running"]) == (2, 1)
    assert found["trials_per_minute"] == pytest.approx(2.0)
    assert found["errors"][0]["message"] == "é"
    assert found["held_since"] == _time(folder.began)
    assert found["last_record_at"] == _time(folder.began + 60)
    assert "hunter" not in ran.out + ran.err


def test_watching_ends_with_the_run(
    folder: Folder, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        folder.end(len(slept), at=len(slept))
        if len(slept) == 2:
            folder.store.compact()
            folder.store.close()

    monkeypatch.setattr(cli_watching, "time", SimpleNamespace(time=time.time, sleep=sleep))
    ran = cli("status", folder.uri, "--watch", "0.5", "--json")
    assert slept == [0.5, 0.5]
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [(line["state"], line["n_done"]) for line in lines] == [
        ("running", 0),
        ("running", 1),
        ("stopped", 2),
    ]
    assert ran.code == 3


def test_what_is_no_results_folder(server: ObjectStore, cli: CommandLine) -> None:
    (place_of(server.uri("other")) / "mine.txt").write_bytes(b"mine")
    cli("status", server.uri("other", user=USER)).is_mistake("holds no study.toml", "bucket/other")
    ran = cli("status", server.uri("nowhere", user=USER))
    ran.is_mistake("does not exist", "clsweep run")
    assert "hunter" not in ran.err
    cli("status", server.uri("x", bucket="no-bucket")).is_mistake("does not exist", "no-bucket")
    cli("status", "hdfs://host/x").is_mistake("names no place")


def test_a_folder_that_goes_away_while_it_is_watched(folder: Folder) -> None:
    reader = StatusReader(folder.place)
    folder.store.close()
    for path in (folder.place / "study.toml", folder.place / "versions.json"):
        path.unlink()
    with pytest.raises(folders.StoreError, match="the folder"):
        reader.read(0.0)


def test_a_store_that_permits_nothing(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    denying = pyarrow.fs.PyFileSystem(Denying())
    monkeypatch.setattr(folders, "_opened", lambda uri: (denying, "bucket/x"))
    ran = cli("status", "s3://me:hunter2@bucket/x")
    ran.is_mistake("ACCESS_DENIED", "check the credentials in the environment")
    assert "hunter2" not in ran.err


def test_a_store_that_does_not_answer(cli: CommandLine) -> None:
    with object_store() as gone:
        uri = gone.uri("x", user=USER)
    ran = cli("status", uri)
    ran.is_mistake(
        "does not let this be read", "NETWORK_CONNECTION", "check that the store answers"
    )
    assert "hunter" not in ran.err


def test_a_newer_clsweep_and_a_damaged_table_are_named(folder: Folder, cli: CommandLine) -> None:
    path = folder.end(0)
    record = json.loads(path.read_bytes())
    path.write_bytes(json.dumps({**record, "schema": 99} | {"sha256": ""}).encode())
    cli("status", folder.uri).is_mistake("schema 99", "newer clsweep")
    path.write_bytes(json.dumps(record).encode())
    folder.store.compact()
    (folder.place / "trials.parquet").write_bytes(b"PAR1")
    cli("status", folder.uri).is_mistake("trials.parquet", "damaged")
