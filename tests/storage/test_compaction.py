"""Results in an object store: nothing is lost, wherever a driver is stopped, or two collide."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from clsweep.errors import StoreError
from clsweep.records.checksums import record_from_bytes
from clsweep.records.recorded_inputs import Input
from clsweep.records.schema import normalized
from clsweep.storage import lock
from clsweep.storage.attempts import attempts, mark_attempt
from clsweep.storage.compaction import _compact_beside_records
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.object_folder import ObjectFolder
from clsweep.storage.remote_path import RemotePath, place_of
from clsweep.storage.store import Store, commit_record
from tests.support.object_stores import ObjectStore, object_store
from tests.support.records import STUDY_TOML, make_record, make_study

RECORDS = [normalized(record) for record in make_study(("EWC", "replay"), 2, 2, ("joint",))]
FEW = RECORDS[:3]
TABLES = ("accuracy", "configs", "trials")


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with object_store() as found:
        yield found


@pytest.fixture
def folder(
    server: ObjectStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> RemotePath:
    monkeypatch.setattr(lock, "SETTLED_AFTER", 0.0)
    monkeypatch.setattr(lock, "WATCHED_FOR", 0.3)
    monkeypatch.setattr(lock, "RENEWED_EVERY", 0.05)
    place = place_of(server.uri(quote(request.node.name)))
    assert isinstance(place, RemotePath)
    return place


class Killed(BaseException):
    """Stands for a process that ends here: no handler of ours catches it."""


def by_trial(records):
    return sorted(records, key=lambda r: (r["trial"]["config_id"], r["trial"]["seed"]))


def fill(folder, records=RECORDS):
    for record in records:
        commit_record(folder, record)
    return folder


def ids(records):
    return {record["trial"]["trial_id"] for record in records}


def rows(folder: RemotePath) -> list[str]:
    """Trial ids of the trials table as it lies there."""
    from clsweep.records.tables import table_from_parquet

    data = (folder / "trials.parquet").read_bytes()
    return table_from_parquet(data, "trials", "")["trial_id"].to_pylist()


def n_reads(monkeypatch, folder, what) -> int:
    """How many records `what` reads one by one."""
    count = {"n": 0}
    read = RemotePath.read_bytes

    def counted(self):
        count["n"] += self.parent.name == "records" and self.name.endswith(".json")
        return read(self)

    with monkeypatch.context() as patch:
        patch.setattr(RemotePath, "read_bytes", counted)
        what()
    return count["n"]


class TestRoundTrip:
    def test_pending_then_folded_then_mixed(self, folder, monkeypatch):
        fill(folder, RECORDS[:5])
        there = Store(folder)
        assert there.load() == by_trial(RECORDS[:5])
        assert there.compact() == 5
        assert there.load() == by_trial(RECORDS[:5])
        assert n_reads(monkeypatch, folder, there.load) == 0
        fill(folder, RECORDS[5:])
        assert n_reads(monkeypatch, folder, there.load) == len(RECORDS) - 5
        assert there.load() == by_trial(RECORDS)
        assert there.statuses().keys() == ids(RECORDS)
        assert there.compact() == len(RECORDS) - 5
        assert there.compact() == 0
        assert there.load() == by_trial(RECORDS)
        assert there.warnings == []

    def test_the_tables_are_those_of_a_disk(self, folder, tmp_path):
        fill(folder, RECORDS[:3])
        Store(folder).compact()
        fill(folder, RECORDS[3:])
        Store(folder).compact()
        Store(fill(tmp_path)).compact()
        for name in TABLES:
            file = f"{name}.parquet"
            assert (folder / file).read_bytes() == (tmp_path / file).read_bytes()

    def test_a_new_record_of_a_folded_trial_wins(self, folder):
        fill(folder, [make_record(status="failed")])
        there = Store(folder)
        there.compact()
        done = normalized(make_record())
        there.commit(done)
        for _ in range(2):
            assert there.load() == [done]
            assert there.statuses() == {done["trial"]["trial_id"]: "ok"}
            there.compact()
        assert rows(folder) == [done["trial"]["trial_id"]]

    def test_no_folder_means_no_records(self, folder):
        there = Store(folder)
        assert there.load() == []
        assert there.statuses() == {}
        assert there.compact() == 0
        assert there.study_table() == {}
        assert not folder.is_dir()

    def test_starts_are_counted_until_the_record_is_folded(self, folder):
        record = make_record()
        trial_id = record["trial"]["trial_id"]
        assert attempts(folder, trial_id) == 0
        assert [mark_attempt(folder, trial_id) for _ in range(3)] == [1, 2, 3]
        mark_attempt(folder, "other-0")
        assert Store(folder).load() == []
        commit_record(folder, record)
        Store(folder).compact()
        assert attempts(folder, trial_id) == 0
        assert attempts(folder, "other-0") == 1

    def test_a_damaged_record_is_set_aside_and_its_row_is_not_lost(self, folder, server):
        fill(folder)
        Store(folder).compact()
        victim = RECORDS[0]["trial"]["trial_id"]
        (folder / "records" / f"{victim}.json").write_bytes(b"{")
        there = Store(folder)
        assert there.load() == by_trial(RECORDS)
        assert "damaged" in there.warnings[0]
        [kept] = list((folder / "damaged").glob("*"))
        assert kept.read_bytes() == b"{"
        fill(folder, [make_record(seed=99)])
        Store(folder).compact()
        assert (folder / "records" / f"{victim}.json").is_file()

    @pytest.mark.parametrize("damage", [b"", b"[]", b'{"tables": {}, "records": {"x": 1}}'])
    def test_nothing_rests_on_the_note_of_the_last_fold(self, folder, damage):
        fill(folder)
        Store(folder).compact()
        (folder / "folded.json").write_bytes(damage)
        assert Store(folder).load() == by_trial(RECORDS)
        assert Store(folder).compact() == len(RECORDS)
        assert Store(folder).load() == by_trial(RECORDS)


class TestBinding:
    def test_two_studies_do_not_mix(self, folder):
        with Store(folder).open_for_run("one", STUDY_TOML, "synthetic") as there:
            there.commit(make_record())
        other = STUDY_TOML.replace("n_tasks = 2", "n_tasks = 5")
        with pytest.raises(StoreError, match=r"'synthetic'.*benchmark.n_tasks was 2, now 5"):
            Store(folder).open_for_run("other", other, "synthetic")

    def test_other_data_do_not_mix(self, folder):
        first, second = (Input("data pets", digit * 24, parts=(("c0", digit),)) for digit in "12")
        with Store(folder).open_for_run("one", STUDY_TOML, "synthetic") as there:
            there.bind_inputs([first])
            there.commit(make_record(versions={"data pets": "1" * 24}))
            there.compact()
        assert Store(folder).check_inputs([first]) == []
        for versions in ("as they are", "lost"):
            with pytest.raises(StoreError, match="data 'pets': 111111111111 then, 222222222222"):
                Store(folder).check_inputs([second])
            if versions == "as they are":
                (folder / "versions.json").unlink()

    def test_a_folder_with_other_things_is_left_alone(self, folder, server):
        (folder / "mine.txt").write_bytes(b"mine")
        with pytest.raises(StoreError, match="holds no clsweep results: mine.txt"):
            Store(folder).open_for_run("one", STUDY_TOML, "synthetic")
        assert [path.name for path in folder.iterdir()] == ["mine.txt"]

    def test_a_second_driver_is_refused(self, folder):
        with Store(folder).open_for_run("one", STUDY_TOML, "synthetic"):
            with pytest.raises(StoreError, match="another run is writing"):
                Store(folder).open_for_run("one", STUDY_TOML, "synthetic")


class TestKilledInCompaction:
    """A first compaction, and one on top of tables, each stopped before and after every upload."""

    @pytest.mark.parametrize("compacted", [0, 2])
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("stop_at", [1, 2, 3, 4])
    def test_nothing_is_lost(self, folder, monkeypatch, compacted, after, stop_at):
        fill(folder, FEW[:compacted])
        Store(folder).compact()
        fill(folder, FEW[compacted:])
        write, count = RemotePath.write_bytes, {"n": 0}

        def counted(self, data):
            if self.name == lock.LOCK:
                return write(self, data)
            count["n"] += 1
            if count["n"] == stop_at and not after:
                raise Killed
            write(self, data)
            if count["n"] == stop_at:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(RemotePath, "write_bytes", counted)
            with pytest.raises(Killed):
                Store(folder).compact()
        assert Store(folder).load() == by_trial(FEW)
        assert Store(folder).statuses().keys() == ids(FEW)
        Store(folder).compact()
        assert Store(folder).load() == by_trial(FEW)
        assert sorted(rows(folder)) == sorted(ids(FEW))


class TestCopied:
    """Folders that were copied from a disk and to a disk, by whatever tool."""

    def copy_up(self, source: Path, folder: RemotePath) -> None:
        for path in source.rglob("*"):
            if path.is_file():
                (folder / str(path.relative_to(source))).write_bytes(path.read_bytes())

    def copy_down(self, folder: RemotePath, target: Path) -> None:
        for part in ("", "records"):
            for path in (folder / part if part else folder).glob("*"):
                (target / part).mkdir(parents=True, exist_ok=True)
                (target / part / path.name).write_bytes(path.read_bytes())

    def test_from_a_disk(self, folder, tmp_path):
        fill(tmp_path, RECORDS[:5])
        Store(tmp_path).compact()
        self.copy_up(tmp_path, folder)
        assert Store(folder).load() == by_trial(RECORDS[:5])
        fill(folder, RECORDS[5:])
        Store(folder).compact()
        assert Store(folder).load() == by_trial(RECORDS)
        assert {path.stem for path in (folder / "records").glob("*.json")} == ids(RECORDS)

    def test_to_a_disk_where_it_goes_on_and_back(self, folder, tmp_path):
        failed = make_record(status="failed", seed=9)
        fill(folder, [*RECORDS[:5], failed])
        Store(folder).compact()
        self.copy_down(folder, tmp_path)
        ok = normalized(make_record(seed=9, finished_at="2025-02-01T00:00:00+00:00"))
        fill(tmp_path, [*RECORDS[5:], ok])
        assert Store(tmp_path).load() == by_trial([*RECORDS, ok])
        Store(tmp_path).compact()
        self.copy_up(tmp_path, folder)  # the failed record is still there
        for _ in range(2):
            assert Store(folder).load() == by_trial([*RECORDS, ok])
            Store(folder).compact()
        name = ok["trial"]["trial_id"]
        data = (folder / "records" / f"{name}.json").read_bytes()
        assert record_from_bytes(data, name, "") == ok


class TestCollision:
    """Drivers that no lease keeps apart, as if each had stood still while it was watched."""

    def test_one_that_stood_still_within_its_fold(self, folder, monkeypatch):
        fill(folder, RECORDS[:4])
        late = Store(folder)
        seen = late._contents()  # and here it stands still
        fill(folder, RECORDS[4:8])
        Store(folder).compact()
        fill(folder, RECORDS[8:])
        # And here it goes on, with what it knew.
        _compact_beside_records(folder_of(folder), seen, lambda: None)
        assert Store(folder).load() == by_trial(RECORDS)
        Store(folder).compact()
        assert Store(folder).load() == by_trial(RECORDS)
        assert sorted(rows(folder)) == sorted(ids(RECORDS))

    def test_one_that_dies_after_it_replaced_a_table_of_the_other(self, folder, monkeypatch):
        fill(folder, RECORDS[:4])
        seen = Store(folder)._contents()
        fill(folder, RECORDS[4:])
        write = RemotePath.write_bytes
        others = iter(["accuracy.parquet"])

        def interleaved(self, data):
            if self.name == "configs.parquet" and next(others, None):
                with pytest.raises(Killed):
                    # It comes as far as the same table.
                    _compact_beside_records(folder_of(folder), seen, lambda: None)
            elif self.name == "configs.parquet" and not is_second.is_set():
                is_second.set()
                raise Killed
            write(self, data)

        is_second = threading.Event()
        with monkeypatch.context() as patch:
            patch.setattr(RemotePath, "write_bytes", interleaved)
            Store(folder).compact()
        # The accuracies are those of the first four; everything else says that all are there.
        assert len(rows(folder)) == len(RECORDS)
        assert Store(folder).load() == by_trial(RECORDS)
        Store(folder).compact()
        assert Store(folder).load() == by_trial(RECORDS)
        assert sorted(rows(folder)) == sorted(ids(RECORDS))

    def test_one_that_notices_replaces_no_table(self, folder, monkeypatch):
        # No renewal comes between the other's lease and the compaction that is to notice it.
        monkeypatch.setattr(lock, "RENEWED_EVERY", 1000.0)
        with Store(folder).open_for_run("one", STUDY_TOML, "synthetic") as first:
            fill(folder, RECORDS[:4])
            other = {"holder": "process 1 on elsewhere", "nonce": "x", "count": 1}
            (folder / lock.LOCK).write_bytes(json.dumps(other).encode())
            with pytest.raises(StoreError, match="process 1 on elsewhere"):
                first.compact()
        assert list(folder.glob("*.parquet")) == []

    def test_threads_that_fold_and_commit_as_they_like(self, folder, monkeypatch):
        """Whenever somebody looks, every trial that was committed is there, once."""
        monkeypatch.setattr(ObjectFolder, "lock", lambda folder: Free())
        write = RemotePath.write_bytes
        rng = random.Random(0)

        def dawdling(self, data):
            time.sleep(rng.random() * 0.03)
            write(self, data)

        monkeypatch.setattr(RemotePath, "write_bytes", dawdling)
        records = [normalized(make_record(seed=seed)) for seed in range(12)]
        committed: set[str] = set()
        failures: list[object] = []

        def drive(mine) -> None:
            try:
                for i, record in enumerate(mine):
                    commit_record(folder, record)
                    committed.add(record["trial"]["trial_id"])
                    if i % 2:
                        Store(folder).compact()
                    before = set(committed)
                    found = [r["trial"]["trial_id"] for r in Store(folder).load()]
                    if before - set(found) or len(found) != len(set(found)):
                        failures.append((before - set(found), found))
            except BaseException as error:
                failures.append(error)

        drivers = [threading.Thread(target=drive, args=(records[i::3],)) for i in range(3)]
        # Two of them have the same trials, too, as drivers of one study would.
        drivers.append(threading.Thread(target=drive, args=(records[0::3],)))
        for one in drivers:
            one.start()
        for one in drivers:
            one.join()
        assert failures == []
        assert Store(folder).load() == by_trial(records)
        Store(folder).compact()
        assert Store(folder).load() == by_trial(records)
        assert sorted(rows(folder)) == sorted(ids(records))


class Free:
    """A lock that keeps nobody out."""

    lost = ""

    def check(self) -> None:
        pass

    def release(self) -> None:
        pass
