"""How often a folder is read: for all who ask at once, and never for nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clsweep.live.answers import sweep_answer, sweeps_answer
from clsweep.live.watched_sweep import REFRESHED_AFTER, WatchedSweep
from clsweep.storage import lock
from tests.support.live_pages import finish, read_always
from tests.support.object_stores import ObjectStore, asked_once, object_store
from tests.support.study_folders import BucketFolder, DiskFolder


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with object_store() as store:
        yield store


def test_a_folder_is_read_at_most_a_tenth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, clock, n_readings = DiskFolder(tmp_path / "out"), Clock(), 0
    watched = WatchedSweep(disk.place, clock=clock)
    read, takes = watched._reader.sweep, 0.0

    def reading(now: float) -> object:
        nonlocal n_readings
        n_readings += 1
        clock.now += takes
        return read(now)

    monkeypatch.setattr(watched._reader, "sweep", reading)
    assert watched.state() is watched.state()
    clock.now += REFRESHED_AFTER
    takes = 3.0
    watched.state()
    assert n_readings == 2
    clock.now += 29.9
    watched.state()
    assert n_readings == 2
    clock.now += 0.2
    watched.state()
    assert n_readings == 3
    disk.store.close()


def test_who_asks_while_it_is_read_gets_what_was_read_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskFolder(tmp_path / "out")
    watched = read_always(disk.place)
    before = watched.state()
    begun, may_end = threading.Event(), threading.Event()
    read = watched._reader.sweep

    def reading(now: float) -> object:
        begun.set()
        assert may_end.wait(60)
        return read(now)

    monkeypatch.setattr(watched._reader, "sweep", reading)
    thread = threading.Thread(target=watched.state, daemon=True)
    thread.start()
    assert begun.wait(60)
    assert watched.state() is before
    may_end.set()
    thread.join()
    assert watched.state() is not before
    disk.store.close()


def test_a_fault_in_one_folder_is_its_error_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = DiskFolder(tmp_path / "one"), DiskFolder(tmp_path / "other")
    watched = [read_always(one.place), read_always(other.place)]

    def reading(now: float) -> object:
        raise KeyError("seed")

    monkeypatch.setattr(watched[0]._reader, "sweep", reading)
    lines = sweeps_answer(watched)["sweeps"]
    assert [line["error"] for line in lines] == ["KeyError: 'seed'", ""]
    assert lines[1]["n_trials"] == 8
    one.store.close()
    other.store.close()


def test_a_bucket_that_goes_away_and_comes_back(
    server: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "SETTLED_AFTER", 0.0)
    monkeypatch.setattr(lock, "RENEWED_EVERY", 0.1)
    monkeypatch.setattr(lock, "WATCHED_FOR", 2.0)
    with asked_once():
        bucket, clock = BucketFolder(server, "live"), Clock()
        finish(bucket, 1)
        watched = WatchedSweep(bucket.place, clock=clock)
        state = watched.state()
        told = sweep_answer(state)
        assert (told["n_done"], told["methods"][1]["best"]["target"]) == (1, 0.8)
        shown = f"{told}{sweeps_answer([watched])}{watched.folder}"
        assert "hunter" not in shown
        assert "***@bucket/live" in shown
        bucket.kill()
        server.stop()
        try:
            clock.now = 1.0
            assert watched.state() is state  # nothing was asked of the store
            clock.now = 1000.0
            lost = watched.state()
            assert lost.error
            assert "hunter" not in lost.error
            assert sweep_answer(lost)["n_done"] == 1
        finally:
            server.start()
        clock.now = 2000.0
        assert watched.state().error == ""
