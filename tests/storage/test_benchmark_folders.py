"""The list of the benchmarks of one study file, above their results folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsweep.errors import StoreError
from clsweep.storage.benchmark_folders import LIST, note_benchmarks, noted_benchmarks


def test_labels_have_the_order_of_the_file_and_none_is_forgotten(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "many"
    assert noted_benchmarks(folder) == ()
    note_benchmarks(folder, ["a", "b"])
    note_benchmarks(folder, ["b", "c"])
    assert noted_benchmarks(folder) == ("b", "c", "a")


def test_the_results_folder_of_one_study_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "versions.json").write_text("{}")
    with pytest.raises(StoreError, match="holds the results of one benchmark"):
        note_benchmarks(tmp_path, ["a"])
    assert not (tmp_path / LIST).exists()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"benchmarks": "ab"}', '{"benchmarks": [1]}', '{"benchmarks": ["../x"]}']
)
def test_a_damaged_list_is_named_and_leads_to_no_other_folder(tmp_path: Path, text: str) -> None:
    (tmp_path / LIST).write_text(text)
    with pytest.raises(StoreError, match="damaged"):
        noted_benchmarks(tmp_path)
