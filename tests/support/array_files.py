"""Small data sets of arrays, in every kind of file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

KINDS = ("npz", "folder", "parquet", "arrow", "stream")


def vectors(n=24, n_features=5, n_classes=3, dtype=np.float32, seed=0):
    """Vectors around a mean of their class, and labels that go round."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    means = rng.normal(size=(n_classes, n_features)) * 3
    return (means[y] + rng.normal(size=(n, n_features))).astype(dtype), y


def split_of(y):
    """Train, val and test in a mixed order, every class in each, for labels that go round."""
    parts = np.array(["train", "train", "test", "val"])
    return parts[(np.arange(len(y)) // (y.max() + 1)) % 4]


def write(path, x, y, split=None, kind="npz"):
    """Write one data set as a kind of file; returns its path.

    Args:
        path: a folder.
        x: inputs.
        y: labels.
        split: of every row; needed for 'folder' and 'npz', where parts become arrays.
        kind: of `KINDS`.
    """
    if kind in ("npz", "folder"):
        parts = {
            f"{part}_{name}": values[split == part]
            for part in dict.fromkeys(split.tolist())
            for name, values in (("x", x), ("y", y))
        }
        if kind == "npz":
            np.savez(path / "data.npz", **parts)
            return path / "data.npz"
        folder = path / "data"
        folder.mkdir()
        for name, values in parts.items():
            np.save(folder / f"{name}.npy", values)
        return folder
    table = pa.table({"x": column(x), "y": y, "split": split.tolist()})
    file = path / f"data.{'parquet' if kind == 'parquet' else 'arrow'}"
    if kind == "parquet":
        pq.write_table(table, file, row_group_size=7)
        return file
    opener = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
    with opener(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return file


def column(x):
    """Inputs as a column of lists of fixed size, one inside of the other."""
    found = pa.array(np.ascontiguousarray(x).reshape(-1))
    for size in reversed(x.shape[1:]):
        found = pa.FixedSizeListArray.from_arrays(found, size)
    return found


def parts_of(x, y, split):
    """What is expected of (x, y) in train, val and test."""
    return {part: (x[split == part], y[split == part]) for part in ("train", "val", "test")}


def study_file(
    folder: Path, dataset: str, benchmark="", methods="", training="epochs = 1", net=""
):
    """A study of two tasks of two classes on `arrays:`; returns its path."""
    text = f"""
name = "arrays"
seeds = 1

[benchmark]
name = "split"
n_tasks = 2
dataset = "arrays:{dataset}"
{benchmark}

[net]
{net or "hidden = [8]"}

[training]
{training}

{methods or "[[methods]]" + chr(10) + 'name = "finetune"'}
"""
    file = folder / "study.toml"
    file.write_text(text, encoding="utf-8")
    return file
