"""Studies of arrays of the user's own, from the file to the tables."""

import numpy as np
import pytest
from pyarrow import parquet

from clsweep.data.array_sets import array_set
from clsweep.errors import StoreError
from clsweep.execution.runner import run
from clsweep.study.study import load_study
from tests.support.array_files import split_of, study_file, vectors, write

METHODS = "\n".join(
    f'[[methods]]\nname = "{name}"\n{numbers}\n'
    for name, numbers in (
        ("finetune", ""),
        ("joint", ""),
        ("ewc", "lam = [1.0]"),
        ("rescl", ""),
        ("replay", "memory_size = [12]"),
        ("gem", "memory_size = [12]"),
        ("agem", "memory_size = [12]"),
        ("lwf", ""),
        ("hnet", 'chunk_size = 40\nhidden = "8"'),
    )
)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_all_kinds_of_methods_learn_vectors(dtype, tmp_path):
    x, y = vectors(n=400, n_classes=4, n_features=6, dtype=dtype)
    path = write(tmp_path, x, y, split_of(y), "folder")
    file = study_file(
        tmp_path,
        path.name,
        'features = "standardized"',
        METHODS,
        "epochs = 6\nlr = 0.1",
    )
    summary = run(load_study(file), out=tmp_path / "out", inline=True)
    assert (summary.n_failed, summary.n_done) == (0, 9)
    accuracy = parquet.read_table(tmp_path / "out" / "accuracy.parquet").to_pylist()
    final = [row for row in accuracy if row["after_task"] == row["on_task"] == 1]
    assert {row["n_total"] for row in final} == {50}
    assert all(row["n_correct"] > 40 for row in final)
    trials = parquet.read_table(tmp_path / "out" / "trials.parquet").to_pylist()
    memory = {trial["method"]: trial["memory_bytes"] for trial in trials}
    example = 6 * np.dtype(dtype).itemsize + 2 * 8  # with label and task
    for name in ("replay", "gem", "agem"):
        assert memory[name] == 12 * example


def test_results_of_other_values_are_not_mixed(tmp_path):
    x, y = vectors(n=200, n_classes=4)
    path = write(tmp_path, x, y, split_of(y), "npz")
    study = load_study(study_file(tmp_path, path.name))
    run(study, out=tmp_path / "out", inline=True)
    x[3, 2] += 1
    write(tmp_path, x, y, split_of(y), "npz")
    with pytest.raises(StoreError, match=r"data 'arrays:data.npz'.*; changed: train_x \("):
        run(study, out=tmp_path / "out", inline=True)


def test_mapped_and_read_arrays_give_the_same_numbers(tmp_path):
    x, y = vectors(n=200, n_classes=4)
    found = []
    for kind in ("npz", "folder", "arrow"):
        folder = tmp_path / kind
        folder.mkdir()
        path = write(folder, x, y, split_of(y), kind)
        assert array_set(path).is_mapped == (kind != "npz")
        run(load_study(study_file(folder, path.name)), out=folder / "out", inline=True)
        table = parquet.read_table(folder / "out" / "accuracy.parquet").to_pylist()
        found.append([(row["on_task"], row["split"], row["n_correct"]) for row in table])
    assert found[0] == found[1] == found[2]
