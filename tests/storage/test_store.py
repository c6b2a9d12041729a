"""What a results folder has taken, it gives back, wherever the process is stopped."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from clsweep.errors import StoreError
from clsweep.records.schema import normalized
from clsweep.storage import disk, store
from clsweep.storage.attempts import attempts, mark_attempt
from clsweep.storage.store import Store, commit_record
from tests.support.records import STUDY_TOML, make_record, make_study, write_study

RECORDS = [normalized(record) for record in make_study(("EWC", "replay"), 2, 2)]


class Killed(BaseException):
    """Stands for a process that ends here: no handler of ours catches it."""


def by_trial(records):
    return sorted(records, key=lambda r: (r["trial"]["config_id"], r["trial"]["seed"]))


def fill(directory: Path, records=RECORDS) -> Path:
    for record in records:
        commit_record(directory, record)
    return directory


def json_files(directory: Path) -> list[Path]:
    return sorted((directory / "records").glob("*.json"))


class TestRoundTrip:
    def test_pending_then_folded_then_mixed(self, tmp_path):
        fill(tmp_path, RECORDS[:5])
        folder = Store(tmp_path)
        assert folder.load() == by_trial(RECORDS[:5])
        assert folder.compact() == 5
        assert json_files(tmp_path) == []
        assert folder.load() == by_trial(RECORDS[:5])
        fill(tmp_path, RECORDS[5:])
        assert folder.load() == by_trial(RECORDS)
        assert folder.statuses().keys() == {r["trial"]["trial_id"] for r in RECORDS}
        folder.compact()
        assert folder.load() == by_trial(RECORDS)
        assert folder.warnings == []

    def test_files_do_not_depend_on_the_order_of_completion(self, tmp_path):
        one, other = fill(tmp_path / "one"), fill(tmp_path / "other", RECORDS[:3][::-1])
        Store(one).compact()
        Store(other).compact()
        fill(other, RECORDS[3:][::-1])
        Store(other).compact()
        for name in ("accuracy", "configs", "trials"):
            file = f"{name}.parquet"
            assert (one / file).read_bytes() == (other / file).read_bytes()

    def test_a_new_record_of_a_folded_trial_wins(self, tmp_path):
        fill(tmp_path, [make_record(status="failed")])
        folder = Store(tmp_path)
        folder.compact()
        done = normalized(make_record())
        folder.commit(done)
        assert folder.load() == [done]
        assert folder.statuses() == {done["trial"]["trial_id"]: "ok"}
        folder.compact()
        assert folder.load() == [done]

    def test_no_folder_means_no_records(self, tmp_path):
        folder = Store(tmp_path / "nowhere")
        assert folder.load() == []
        assert folder.statuses() == {}
        assert folder.compact() == 0
        assert folder.study_table() == {}
        assert not (tmp_path / "nowhere").exists()

    def test_compacting_nothing_writes_nothing(self, tmp_path):
        fill(tmp_path)
        Store(tmp_path).compact()
        before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.parquet")}
        assert Store(tmp_path).compact() == 0
        assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.parquet")} == before

    def test_a_folder_name_that_looks_like_a_partition_adds_no_column(self, tmp_path):
        directory = fill(tmp_path / "seed=7")
        Store(directory).compact()
        assert Store(directory).load() == by_trial(RECORDS)


def counted(monkeypatch, module, name: str, stop_at: int, after: bool):
    """Make the `stop_at`-th call of an os function the last thing that happens."""
    real = getattr(module, name)
    calls = {"n": 0}

    def call(*args, **kwargs):
        calls["n"] += 1
        if calls["n"] == stop_at and not after:
            raise Killed
        try:
            real(*args, **kwargs)
        finally:
            if calls["n"] == stop_at:
                raise Killed

    monkeypatch.setattr(module, name, call)
    return calls


class TestKilledInCompact:
    """A first compaction, and one on top of tables, each stopped at every step."""

    @pytest.mark.parametrize("compacted", [0, 5])
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize(
        ("name", "stop_at"),
        [("replace", 1), ("replace", 2), ("replace", 3), ("fsync", 1), ("fsync", 4), ("fsync", 6)]
        + [("unlink", n) for n in (1, 2, 4)],
    )
    def test_nothing_is_lost(self, tmp_path, monkeypatch, name, stop_at, after, compacted):
        fill(tmp_path, RECORDS[:compacted])
        Store(tmp_path).compact()
        fill(tmp_path, RECORDS[compacted:])
        with monkeypatch.context() as patch:
            counted(patch, os, name, stop_at, after)
            folder = Store(tmp_path)
            with pytest.raises(Killed):
                folder.compact()
        assert Store(tmp_path).load() == by_trial(RECORDS)
        assert len(Store(tmp_path).statuses()) == len(RECORDS)
        again = Store(tmp_path)
        again.compact()
        assert again.load() == by_trial(RECORDS)
        assert json_files(tmp_path) == []
        assert again.warnings == []

    def test_a_retried_trial_is_never_half_replaced(self, tmp_path, monkeypatch):
        fill(tmp_path, [make_record(status="failed")])
        Store(tmp_path).compact()
        done = normalized(make_record())
        fill(tmp_path, [done])
        for stop_at in (1, 2, 3):
            with monkeypatch.context() as patch:
                counted(patch, os, "replace", stop_at, after=True)
                with pytest.raises(Killed):
                    Store(tmp_path).compact()
            assert Store(tmp_path).load() == [done]

    def test_a_trial_committed_anew_meanwhile_stays(self, tmp_path, monkeypatch):
        fill(tmp_path, [make_record(status="failed")])
        done = normalized(make_record())
        real, calls = os.replace, []

        def replace(source, target):
            real(source, target)
            if not calls:
                calls.append(target)
                commit_record(tmp_path, done)

        monkeypatch.setattr(os, "replace", replace)
        Store(tmp_path).compact()
        monkeypatch.undo()
        assert len(json_files(tmp_path)) == 1
        assert Store(tmp_path).load() == [done]


WRITER = """
import sys
from pathlib import Path
from tests.support.records import make_record
from clsweep.storage.store import Store
folder = Store(Path(sys.argv[1])).open_for_run("identity", "name = 'x'", "x")
for seed in range(100_000):
    folder.commit(make_record(seed=seed))
    print(seed, flush=True)
    if seed % 3 == 2:
        folder.compact()
"""


class TestSigkill:
    def start(self, directory: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, str(directory)]
        root = Path(__file__).parents[2]
        env = {**os.environ, "PYTHONPATH": str(root)}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)

    def test_every_announced_record_survives(self, tmp_path):
        for delay in (0.0, 0.013, 0.029):
            directory = tmp_path / str(delay)
            writer = self.start(directory)
            assert writer.stdout is not None
            for _ in range(10):
                writer.stdout.readline()
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().split()
            writer.wait()
            announced = max([9, *map(int, rest)])
            # The lock died with its process.
            with Store(directory).open_for_run("identity", "name = 'x'", "x") as folder:
                records = folder.load()
                seeds = [record["trial"]["seed"] for record in records]
                assert set(range(announced + 1)) <= set(seeds)
                assert all(r == normalized(make_record(seed=r["trial"]["seed"])) for r in records)
                folder.compact()
                assert folder.load() == records
                assert folder.warnings == []


class TestTwoDrivers:
    @pytest.mark.parametrize("exists", [False, True])
    def test_of_those_that_start_at_the_same_moment_one_is_let_in(self, tmp_path, exists):
        if exists:
            Store(tmp_path).open_for_run("identity", STUDY_TOML, "name").close()
        n, ended = 8, []
        start, end = threading.Barrier(n), threading.Barrier(n)

        def drive() -> None:
            start.wait(10)
            try:
                folder = Store(tmp_path).open_for_run("identity", STUDY_TOML, "name")
            except StoreError as error:
                ended.append(error.found)
                end.wait(10)
            else:
                ended.append("let in")
                end.wait(10)
                folder.close()

        drivers = [threading.Thread(target=drive) for _ in range(n)]
        for driver in drivers:
            driver.start()
        for driver in drivers:
            driver.join()
        others = [found for found in ended if found != "let in"]
        assert len(others) == n - 1
        assert all(found.startswith("another run is writing") for found in others)


class TestDamage:
    @pytest.mark.parametrize("content", [b"", b'{"schema": 1, "tri', b"\x80\x00", b"[]"])
    def test_a_damaged_record_is_set_aside_and_its_trial_missing(self, tmp_path, content):
        fill(tmp_path)
        broken = json_files(tmp_path)[0]
        broken.write_bytes(content)
        folder = Store(tmp_path)
        assert len(folder.load()) == len(RECORDS) - 1
        assert broken.stem not in folder.statuses()
        assert len(folder.warnings) == 1
        assert broken.stem in folder.warnings[0]
        kept = list((tmp_path / "damaged").iterdir())
        assert [path.read_bytes() for path in kept] == [content]

    def test_a_record_of_a_newer_clsweep_is_left_alone(self, tmp_path):
        fill(tmp_path)
        path = json_files(tmp_path)[0]
        path.write_text(json.dumps({"schema": 3}), encoding="utf-8")
        with pytest.raises(StoreError, match="newer clsweep"):
            Store(tmp_path).load()
        assert path.exists()

    @pytest.mark.parametrize("name", ["accuracy", "configs", "trials"])
    def test_a_damaged_table_is_named_and_nothing_deleted(self, tmp_path, name):
        fill(tmp_path, RECORDS[:4])
        Store(tmp_path).compact()
        fill(tmp_path, RECORDS[4:])
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(path.read_bytes()[:-9])
        before = {p: p.read_bytes() for p in tmp_path.rglob("*.*") if p.is_file()}
        store = Store(tmp_path)
        for action in (store.load, store.compact, store.check_tables):
            with pytest.raises(StoreError, match=f"(?s)damaged.*{name}.parquet"):
                action()
        after = {p: p.read_bytes() for p in tmp_path.rglob("*.*") if p.is_file()}
        assert {p: after[p] for p in before if p.name != ".lock"} == {
            p: b for p, b in before.items() if p.name != ".lock"
        }

    @pytest.mark.parametrize("name", ["accuracy", "configs", "trials"])
    def test_a_missing_table_is_never_written_over(self, tmp_path, name):
        fill(tmp_path, RECORDS[:4])
        Store(tmp_path).compact()
        fill(tmp_path, RECORDS[4:])
        (tmp_path / f"{name}.parquet").unlink()
        with pytest.raises(StoreError, match=f"{name}.parquet is missing"):
            Store(tmp_path).compact()
        with pytest.raises(StoreError, match=f"{name}.parquet is missing"):
            Store(tmp_path).check_tables()

    def test_a_full_disk_is_said_and_the_old_tables_stay(self, tmp_path, monkeypatch):
        fill(tmp_path, RECORDS[:4])
        Store(tmp_path).compact()
        fill(tmp_path, RECORDS[4:])

        def full(descriptor):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(disk.os, "fsync", full)
            with pytest.raises(StoreError, match=r"(?s)No space left.*MiB are free"):
                Store(tmp_path).compact()
            with pytest.raises(StoreError, match="No space left"):
                commit_record(tmp_path, make_record(seed=50))
        assert Store(tmp_path).load() == by_trial(RECORDS)
        assert list(tmp_path.rglob("*.tmp")) == []

    def test_a_folder_that_refuses_is_said(self, tmp_path):
        (tmp_path / "records").write_text("a file where a folder belongs", encoding="utf-8")
        with pytest.raises(StoreError, match=r"(?s)cannot write.*records"):
            commit_record(tmp_path, make_record())

    def test_left_over_temporary_files_are_ignored_and_cleared_by_the_next_run(self, tmp_path):
        """However old or young they look: clocks differ between machines, and jump."""
        Store(tmp_path).open_for_run("identity", STUDY_TOML, "synthetic").close()
        fill(tmp_path)
        paths = [tmp_path / "records" / f".{n}.json.host.1.tmp" for n in ("old", "young", "later")]
        for path, seconds in zip(paths, (0, time.time(), time.time() + 10**8), strict=True):
            path.write_bytes(b"{")
            os.utime(path, (seconds, seconds))
        assert Store(tmp_path).load() == by_trial(RECORDS)
        Store(tmp_path).compact()
        assert all(path.exists() for path in paths), "another run may be writing them"
        with Store(tmp_path).open_for_run("identity", STUDY_TOML, "synthetic"):
            assert not any(path.exists() for path in paths)


class TestBinding:
    def open(self, directory: Path, identity="identity", toml=STUDY_TOML) -> Store:
        return Store(directory).open_for_run(identity, toml, "synthetic")

    def test_the_folder_says_what_it_is(self, tmp_path):
        with self.open(tmp_path / "a" / "b") as folder:
            bound = json.loads((folder.directory / "versions.json").read_text(encoding="utf-8"))
            assert (bound["schema"], bound["study"], bound["name"]) == (1, "identity", "synthetic")
            assert "python" in bound["packages"]
            assert folder.study_table()["benchmark"]["dataset"] == "mnist"

    def test_a_second_driver_is_kept_out_until_the_first_ends(self, tmp_path):
        with self.open(tmp_path) as first:
            with pytest.raises(StoreError, match=f"another run.*process {os.getpid()}"):
                self.open(tmp_path)
            with pytest.raises(StoreError, match="another run"):
                Store(tmp_path).compact()
            first.commit(make_record())
            first.compact()
        with self.open(tmp_path) as second:
            assert len(second.load()) == 1

    def test_another_study_is_refused_with_what_changed(self, tmp_path):
        with self.open(tmp_path) as folder:
            folder.commit(make_record())
        toml = STUDY_TOML.replace("n_tasks = 2", "n_tasks = 5")
        with pytest.raises(StoreError, match=r"'synthetic'.*benchmark.n_tasks was 2, now 5"):
            self.open(tmp_path, "other", toml)
        assert "n_tasks = 2" in (tmp_path / "study.toml").read_text(encoding="utf-8")

    def test_a_folder_without_any_trial_may_change_its_study(self, tmp_path):
        self.open(tmp_path).close()
        toml = STUDY_TOML.replace("n_tasks = 2", "n_tasks = 5")
        with self.open(tmp_path, "other", toml) as folder:
            assert folder.study_table()["benchmark"]["n_tasks"] == 5

    def test_more_methods_of_the_same_study_are_welcome(self, tmp_path):
        self.open(tmp_path).close()
        longer = STUDY_TOML + '\n[[methods]]\nname = "ewc"\n'
        with self.open(tmp_path, toml=longer) as folder:
            assert folder.study_table()["methods"] == [{"name": "ewc"}]

    def test_a_newer_schema_is_refused(self, tmp_path):
        self.open(tmp_path).close()
        path = tmp_path / "versions.json"
        bound = json.loads(path.read_text(encoding="utf-8")) | {"schema": 2}
        path.write_text(json.dumps(bound), encoding="utf-8")
        with pytest.raises(StoreError, match="newer clsweep"):
            self.open(tmp_path)

    def test_a_folder_with_other_things_is_left_alone(self, tmp_path):
        (tmp_path / "study.toml").write_text("mine", encoding="utf-8")
        with pytest.raises(StoreError, match="holds no clsweep results: study.toml"):
            self.open(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["study.toml"]

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
    def test_an_unreadable_identity_is_refused(self, tmp_path, content):
        self.open(tmp_path).close()
        (tmp_path / "versions.json").write_text(content, encoding="utf-8")
        with pytest.raises(StoreError, match="cannot tell which study"):
            self.open(tmp_path)

    def test_a_file_in_place_of_the_folder_is_refused(self, tmp_path):
        path = tmp_path / "file"
        path.write_text("", encoding="utf-8")
        with pytest.raises(StoreError, match="is a file"):
            self.open(path)

    @pytest.mark.parametrize("stop_at", [1, 2])
    def test_a_kill_while_binding_can_be_repeated(self, tmp_path, monkeypatch, stop_at):
        with monkeypatch.context() as patch:
            counted(patch, os, "replace", stop_at, after=True)
            with pytest.raises(Killed):
                self.open(tmp_path)
        self.open(tmp_path).close()


class TestAttempts:
    def test_they_count_until_the_record_is_folded(self, tmp_path):
        record = make_record()
        trial_id = record["trial"]["trial_id"]
        assert attempts(tmp_path, trial_id) == 0
        assert [mark_attempt(tmp_path, trial_id) for _ in range(3)] == [1, 2, 3]
        mark_attempt(tmp_path, "other-0")
        assert Store(tmp_path).load() == []
        commit_record(tmp_path, record)
        Store(tmp_path).compact()
        assert attempts(tmp_path, trial_id) == 0
        # A trial without a record may be the one that kills its worker: its count must stay.
        assert attempts(tmp_path, "other-0") == 1


def test_ids_are_known_without_importing_torch_ray_or_pyarrow(tmp_path):
    fill(tmp_path)
    code = (
        "import sys; from pathlib import Path; from clsweep.storage.store import Store; "
        f"assert len(Store(Path({str(tmp_path)!r})).statuses()) == {len(RECORDS)}; "
        "assert not {'torch', 'ray', 'pyarrow', 'numpy'} & set(sys.modules)"
    )
    root = Path(store.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_a_folder_written_by_the_factory_loads(tmp_path):
    assert Store(write_study(tmp_path / "x", RECORDS)).load() == by_trial(RECORDS)
