"""Five faults over a study on three Ray nodes; and that their observer sees what it should."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.chaos import FAULTS, faults_of, rounds
from benchmarks.observation import Observer, different, lost
from tests.end_to_end.studies import clsweep, write_study


@pytest.mark.ray
@pytest.mark.slow  # two and a half minutes; the CI runs it by name
@pytest.mark.timeout(900)
def test_five_faults_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    done = rounds(len(FAULTS), 0, tmp_path, small=True)
    struck = [fault for one in done for fault in one.struck]
    # A fault that comes too late for a round is made up for in the next, by one of another kind.
    assert len(struck) == len(FAULTS)
    assert len({fault.kind for fault in struck}) >= 3
    assert [sentence for one in done for sentence in one.wrong] == []
    assert all(len(one.observer.records) == 12 for one in done)


def test_a_seed_makes_the_same_faults_again() -> None:
    assert faults_of(3, 40) == faults_of(3, 40) != faults_of(4, 40)
    for seed in range(50):
        faults = faults_of(seed, 40)
        assert {fault.kind for fault in faults} == set(FAULTS)
        assert [fault.after for fault in faults] == sorted({fault.after for fault in faults})
        assert faults[-1].after <= 40


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict]]:
    """(results folder, the records that it was made of)."""
    folder = tmp_path_factory.mktemp("finished")
    out = folder / "out"
    watching = Observer(out)
    watching.start()
    clsweep("run", write_study(folder, seeds=1, steps=2), "--inline", "--out", out)
    watching.close()
    assert watching.run_twice == []
    records = {name: record for name, record in watching.records.items() if record}
    assert len(records) >= 6, "of eight, those compacted between two readings may be missing"
    return out, records


def test_a_record_without_its_row_or_with_another_is_lost(
    finished: tuple[Path, dict[str, dict]],
) -> None:
    out, records = finished
    assert lost(records, out) == []
    name, record = next(iter(records.items()))
    assert len(lost({**records, "nowhere-0": record}, out)) == 1
    for part, key, value in (("trial", "wall_seconds", 0.5), ("config", "label", "other")):
        changed = {**record, part: {**record[part], key: value}}
        assert lost({name: changed}, out) == [f"lost: {name} has another row than its record had"]
    rows = [list(row) for row in record["accuracy"]]
    rows[0][3] += 1
    assert len(lost({name: {**record, "accuracy": rows}}, out)) == 1


@pytest.mark.parametrize(
    ("table", "column", "value", "wrong"),
    [
        ("accuracy", "n_correct", 0, ["different: accuracy.parquet"]),
        ("configs", "label", "other", ["different: configs.parquet"]),
        ("trials", "n_steps", 0, ["different: trials.parquet"]),
        ("trials", "status", "failed", ["different: trials.parquet"]),
        ("trials", "wall_seconds", 0.5, []),
        ("trials", "attempts", 7, []),
    ],
)
def test_tables_differ_in_what_is_no_time_and_no_count_of_attempts(
    finished: tuple[Path, dict[str, dict]],
    tmp_path: Path,
    table: str,
    column: str,
    value: object,
    wrong: list[str],
) -> None:
    out, _ = finished
    other = tmp_path / "other"
    shutil.copytree(out, other)
    assert different(out, other) == []
    path = other / f"{table}.parquet"
    old = pq.read_table(path)
    values = [value, *old[column].to_pylist()[1:]]
    new = old.set_column(
        old.column_names.index(column), column, pa.array(values, old[column].type)
    )
    pq.write_table(new, path)
    assert different(out, other) == wrong


def test_the_observer_sees_what_runs_again(tmp_path: Path) -> None:
    records = tmp_path / "records"
    records.mkdir()
    seen = Observer(tmp_path)
    record, attempts = records / "a-0.json", records / "a-0.attempts"

    def commit() -> None:
        temporary = records / ".a-0.json.tmp"
        temporary.write_text(json.dumps({"trial": {}}))
        temporary.rename(record)

    attempts.write_text("host 1\nhost 2\n")  # two starts before it commits are no fault
    seen.look()
    commit()
    seen.look()
    assert seen.records == {"a-0": {"trial": {}}}
    attempts.unlink()
    record.unlink()
    seen.look()
    assert seen.run_twice == []
    attempts.write_text("host 3\n")
    seen.look()
    assert seen.run_twice == ["a-0 was started again after it had been committed"]
    commit()
    seen.look()
    assert seen.run_twice[1:] == ["a-0 was committed again after it had been committed"]
    commit()  # the same bytes in another file
    seen.look()
    assert len(seen.run_twice) == 3
