"""Extras in a results folder: no crash loses or doubles them, and damage hides no other trial."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clsweep.errors import StoreError
from clsweep.records.trial_extras import ClassCount, MeasureValue, TrialExtras
from clsweep.storage.extra_files import commit_extras, compact_extras, load_extras
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.remote_path import place_of
from clsweep.storage.store import Store
from tests.support.object_stores import object_store

AT = "2026-01-02T03:04:05.678+00:00"


def _extras(seed: int, n: int = 1) -> TrialExtras:
    counts = (ClassCount(0, "test", 0, 0, "cat", "cat", n),)
    return TrialExtras("abc", seed, AT, counts, (MeasureValue("m:f", n / 8),))


def _counts(folder: Path) -> list[int]:
    warnings: list[str] = []
    found = load_extras(folder, warnings)["class_counts"]["n"].to_pylist()
    assert warnings == []
    return found


def test_files_are_put_into_tables(tmp_path: Path) -> None:
    assert _counts(tmp_path) == []
    for seed in range(3):
        commit_extras(tmp_path, _extras(seed, 1 + seed))
    assert _counts(tmp_path) == [1, 2, 3]
    compact_extras(folder_of(tmp_path), [])
    assert not list((tmp_path / "extras").iterdir())
    assert _counts(tmp_path) == [1, 2, 3]
    assert pq.read_table(tmp_path / "measures.parquet")["value"].to_pylist() == [
        0.125,
        0.25,
        0.375,
    ]
    commit_extras(tmp_path, _extras(1, 9))
    assert sorted(_counts(tmp_path)) == [1, 3, 9]
    compact_extras(folder_of(tmp_path), [])
    assert sorted(_counts(tmp_path)) == [1, 3, 9]


def test_a_run_puts_them_together_at_its_end(tmp_path: Path) -> None:
    with Store(tmp_path).open_for_run("identity", 'name = "s"\n', "s") as store:
        commit_extras(tmp_path, _extras(0))
        store.compact()
    assert (tmp_path / "class_counts.parquet").exists()
    assert not list((tmp_path / "extras").iterdir())


def test_a_compaction_cut_short_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_extras(tmp_path, _extras(0, 4))
    commit_extras(tmp_path, _extras(1, 5))
    folder = folder_of(tmp_path)
    for method in ("write", "delete"):
        real, calls = getattr(type(folder), method), []

        def once(self: object, *args: object, real=real, calls=calls) -> None:
            if calls:
                raise KeyboardInterrupt
            calls.append(args)
            real(self, *args)

        with monkeypatch.context() as patched:
            patched.setattr(type(folder), method, once)
            with pytest.raises(KeyboardInterrupt):
                compact_extras(folder, [])
        assert _counts(tmp_path) == [4, 5]
    compact_extras(folder, [])
    assert _counts(tmp_path) == [4, 5]


def test_a_damaged_file_is_named_and_passed_over(tmp_path: Path) -> None:
    for seed in range(3):
        commit_extras(tmp_path, _extras(seed))
    (tmp_path / "extras" / "abc-1.json").write_bytes(b"{")
    (tmp_path / "extras" / "abc-7.json").write_bytes((tmp_path / "extras/abc-2.json").read_bytes())
    warnings: list[str] = []
    assert load_extras(tmp_path, warnings)["class_counts"]["seed"].to_pylist() == [0, 2]
    first, second = warnings
    assert "abc-1.json is passed over" in first
    assert "abc-7.json is passed over: it is of another trial" in second
    compact_extras(folder_of(tmp_path), [])
    assert sorted(p.name for p in (tmp_path / "extras").iterdir()) == ["abc-1.json", "abc-7.json"]


def test_a_damaged_table_is_an_error_and_stays(tmp_path: Path) -> None:
    commit_extras(tmp_path, _extras(0))
    compact_extras(folder_of(tmp_path), [])
    table = tmp_path / "class_counts.parquet"
    table.write_bytes(table.read_bytes()[:-20])
    commit_extras(tmp_path, _extras(1))
    with pytest.raises(StoreError, match="damaged"):
        compact_extras(folder_of(tmp_path), [])
    assert (tmp_path / "extras" / "abc-1.json").exists()


def test_an_object_store_keeps_the_files() -> None:
    with object_store() as server:
        place = place_of(server.uri("extras"))
        assert len(load_extras(place, [])["measures"]) == 0
        with Store(place).open_for_run("identity", 'name = "s"\n', "s") as store:
            for seed in range(2):
                commit_extras(place, _extras(seed, 4 + seed))
            store.compact()
        warnings: list[str] = []
        found = load_extras(place, warnings)
        assert found["class_counts"]["n"].to_pylist() == [4, 5]
        assert warnings == []
        names = [key.rpartition("extras/")[2] for key in server.keys("extras")]
        assert {"abc-0.json", "abc-1.json"} <= set(names)
        assert not any(name.endswith("class_counts.parquet") for name in names)
