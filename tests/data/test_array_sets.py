import re
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from clsweep.data.array_sets import array_labels, array_set
from clsweep.data.array_surveys import survey
from clsweep.data.dataset_lookup import dataset_spec
from clsweep.data.datasets import array_dataset
from clsweep.errors import StudyError
from tests.support.array_files import KINDS, column, parts_of, split_of, vectors, write


def loaded(path):
    survey(path)
    return array_dataset(array_set(path))


def refused(path) -> str:
    with pytest.raises(StudyError) as caught:
        survey(path)
    text = " ".join(str(caught.value).split())
    assert path.name in text
    return text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, np.uint8])
def test_every_kind_of_file_gives_the_same_rows(kind, dtype, tmp_path):
    x, y = vectors(dtype=np.float64)
    x, split = (x * 20 + 100).clip(0, 255).astype(dtype), split_of(y)
    path = write(tmp_path, x, y, split, kind)
    data, expected = loaded(path), parts_of(x, y, split)
    stop = data.n_train + data.n_validation
    ranges = {"train": (0, data.n_train), "val": (data.n_train, stop), "test": (stop, len(y))}
    for part, (a, b) in ranges.items():
        rows = data.images.index_select(0, torch.arange(a, b)).numpy()
        assert rows.dtype == dtype
        assert np.array_equal(rows, expected[part][0])
        assert np.array_equal(data.labels[a:b].numpy(), expected[part][1])
    assert array_set(path).is_mapped == (kind in ("folder", "arrow", "stream"))


@pytest.mark.parametrize("kind", KINDS)
def test_images_keep_their_shape(kind, tmp_path):
    x, y = vectors(n_features=24)
    path = write(tmp_path, x.reshape(-1, 2, 3, 4), y, split_of(y), kind)
    assert survey(path).shape == (2, 3, 4)
    grey = tmp_path / "grey"
    grey.mkdir()
    path = write(grey, x.reshape(-1, 6, 4), y, split_of(y), kind)
    assert survey(path).shape == (1, 6, 4)
    assert loaded(path).train_images.shape == (12, 1, 6, 4)


def test_the_fingerprint_is_of_content(tmp_path):
    x, y = vectors()
    split = split_of(y)
    found = []
    for kind, change in (("npz", 0), ("folder", 0), ("npz", 1e-3)):
        folder = tmp_path / f"{kind}{change}"
        folder.mkdir()
        found.append(survey(write(folder, x + np.float32(change), y, split, kind)).fingerprints)
    assert found[0] == found[1]
    assert found[0]["train_x"] != found[2]["train_x"]
    assert found[0]["train_y"] == found[2]["train_y"]


def test_arrow_and_parquet_of_the_same_rows_have_one_fingerprint(tmp_path):
    x, y = vectors()
    found = [survey(write(tmp_path, x, y, split_of(y), kind)) for kind in KINDS[2:4]]
    assert found[0].fingerprints == found[1].fingerprints
    assert found[0].fingerprints.keys() == {"x", "y", "split"}


def test_columns_of_lists_of_any_kind_are_read(tmp_path):
    x, y = vectors()
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(x.reshape(-1, 5, 1))
    for name, values in (
        ("lists", pa.array([row.tolist() for row in x], pa.list_(pa.float32()))),
        ("large", pa.array([row.tolist() for row in x], pa.large_list(pa.float32()))),
        ("tensors", tensors),
    ):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"x": values, "y": y}), path)
        assert np.array_equal(
            np.sort(
                loaded(path).images.index_select(0, torch.arange(24)).numpy().reshape(24, 5), 0
            ),
            np.sort(x, 0),
        )


def test_fortran_order_is_read(tmp_path):
    x, y = vectors()
    for part in ("train", "test"):
        np.save(tmp_path / f"{part}_x.npy", np.asfortranarray(x))
        np.save(tmp_path / f"{part}_y.npy", y)
    data = loaded(tmp_path)
    assert np.array_equal(data.train_images.numpy(), x)
    np.savez(tmp_path / "data.npz", x_train=np.asfortranarray(x), y_train=y, x_test=x, y_test=y)
    assert np.array_equal(loaded(tmp_path / "data.npz").train_images.numpy(), x)
    assert (
        survey(tmp_path).fingerprints["train_x"]
        == survey(tmp_path / "data.npz").fingerprints["x_train"]
    )


def test_without_a_split_a_fifth_of_every_class_tests(tmp_path):
    x, y = vectors(n=31)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    labels = array_labels(array_set(tmp_path / "data.npz"))
    assert labels.counts(2) == (3, 2, 2)
    assert sum(labels.counts(0)) == 24
    assert sum(labels.counts(1)) == 0
    assert "one in 5 examples of every class, 7 in all" in " ".join(labels.notes)


def test_labels_with_gaps_are_numbered_in_their_order_and_it_is_said(tmp_path):
    x, y = vectors()
    path = write(tmp_path, x, np.array([7, 2, 40])[y], split_of(y))
    spec = dataset_spec(f"arrays:{path}", None)
    assert spec.class_names == ("2", "7", "40")
    assert any("its 3 classes are 2, 7, 40, in this order" in note for note in spec.notes)
    assert np.array_equal(
        loaded(path).train_labels.numpy(), np.array([1, 0, 2])[y[split_of(y) == "train"]]
    )


def test_what_is_not_read_is_named(tmp_path):
    x, y = vectors()
    np.savez(tmp_path / "data.npz", x=x, y=y, names=np.array(["a"]))
    assert any("are not read: names" in note for note in survey(tmp_path / "data.npz").notes)


def test_channels_last_are_noted(tmp_path):
    x, y = vectors(n_features=48)
    path = write(tmp_path, x.reshape(-1, 4, 4, 3), y, split_of(y))
    assert any("transpose(0, 3, 1, 2)" in note for note in survey(path).notes)


def test_features_that_never_change_are_noted(tmp_path):
    x, y = vectors()
    x[:, 1] = 4
    path = write(tmp_path, x, y, split_of(y))
    assert any("1 feature of the 5" in note for note in survey(path).notes)


@pytest.mark.parametrize("kind", KINDS)
def test_examples_that_train_too_are_noted(kind, tmp_path):
    x, y = vectors(n=48)
    split = split_of(y)
    train, val, test = (np.flatnonzero(split == part) for part in ("train", "val", "test"))
    x[test[:2]] = x[train[5]]
    x[test[2]], x[test[3]] = x[val[0]], x[test[4]]  # no training example has these
    x[val[1]] = x[train[0]]
    notes = survey(write(tmp_path, x, y, split, kind)).notes
    found = [note for note in notes if "training example" in note]
    assert [note.partition(" of data")[0] for note in found] == [
        f"2 of {len(test)} test examples",
        f"1 of {len(val)} validation examples",
    ]
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", *vectors(n=48), split, kind)
    assert not any("training example" in note for note in survey(other).notes)


def _nan(x, y):
    x[17, 3] = np.nan
    return x, y


def _inf(x, y):
    x[17, 3] = -np.inf
    return x, y


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_nan, r"x.npy in .*data.npz holds the value nan in row 17 .*, position \[3\]"),
        (_inf, r"x.npy in .*data.npz holds the value -inf in row 17"),
        (lambda x, y: (x[:-1], y), "has 23 rows, y.npy in .*data.npz 24"),
        (lambda x, y: (x[:0], y[:0]), "x.npy in .*data.npz is empty"),
        (lambda x, y: (x[:, 0], y), r"has shape \[24\].*x\[:, None\]"),
        (lambda x, y: (x.astype(np.int64), y), r"values of type int64.*x.astype\(np.float32\)"),
        (lambda x, y: (x.astype(">f4"), y), r"byte order of another machine.*astype\('float32'\)"),
        (lambda x, y: (x.astype(object), y), "Python objects, which are pickled: nothing is"),
        (lambda x, y: (np.ones_like(x), y), "exactly the same inputs"),
        (lambda x, y: (x, y - 1), "8 labels below 0, the least is -1"),
        (lambda x, y: (x, y.astype(str)), "labels of type .*np.unique"),
        (lambda x, y: (x, np.eye(3, dtype=int)[y]), r"shape \[24, 3\].*y.argmax\(1\)"),
        (lambda x, y: (x, 0 * y), "have the label 0"),
        (lambda x, y: (x, np.where(np.arange(24) == 3, 9, y)), "no training example of class 9"),
    ],
)
def test_one_message_names_what_is_wrong_and_the_file(change, complaint, tmp_path):
    x, y = change(*vectors())
    np.savez(tmp_path / "data.npz", x=x, y=y)
    assert re.search(complaint, refused(tmp_path / "data.npz"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"test_x": None}, "lacks test_x"),
        ({"test_x": None, "test_y": None}, "lacks test_x, test_y"),
        ({"val_y": np.arange(24) % 3}, "lacks val_x"),
        ({"test_x": vectors(n_features=6)[0]}, r"shape \[5\] and type float32, .*shape \[6\]"),
        ({"test_x": vectors(dtype=np.float64)[0]}, "type float32, .* type float64"),
        ({"test_x": vectors()[0][:0], "test_y": np.arange(0)}, "test_x.npy is empty"),
        ({"test_y": np.arange(24) % 2}, "no test example of class 2"),
        ({"train_y": np.arange(24) % 2}, "no training example of class 2"),
        ({"x": vectors()[0], "y": vectors()[1]}, "holds both x and train_x"),
    ],
)
def test_parts_that_do_not_belong_together_are_named(change, complaint, tmp_path):
    x, y = vectors()
    for name, values in ({"train_x": x, "train_y": y, "test_x": x, "test_y": y} | change).items():
        if values is not None:
            np.save(tmp_path / f"{name}.npy", values)
    assert re.search(complaint, refused(tmp_path))


@pytest.mark.parametrize("is_folder", [True, False])
def test_an_array_under_two_names_is_refused_with_both(is_folder, tmp_path):
    x, y = vectors()
    arrays = {"train_x": x, "x_train": x + 1, "train_y": y, "test_x": x, "test_y": y}
    path = tmp_path if is_folder else tmp_path / "both.npz"
    if is_folder:
        for name, values in arrays.items():
            np.save(path / f"{name}.npy", values)
    else:
        np.savez(path, **arrays)
    assert "holds both train_x and x_train, two names of the same array" in refused(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_holds_an_array_twice_is_refused(tmp_path):
    x, y = vectors()
    np.savez(tmp_path / "data.npz", x=x, y=y)
    np.save(tmp_path / "x.npy", x + 1)
    with zipfile.ZipFile(tmp_path / "data.npz", "a") as archive:
        archive.write(tmp_path / "x.npy", "x.npy")
    assert "it holds the array 'x' twice" in refused(tmp_path / "data.npz")


def test_damaged_files_are_named(tmp_path):
    x, y = vectors()
    split = split_of(y)
    folder = write(tmp_path, x, y, split, "folder")
    data = (folder / "train_x.npy").read_bytes()
    (folder / "train_x.npy").write_bytes(data[:-8])
    assert "no whole array" in refused(folder)
    (folder / "train_x.npy").write_bytes(b"no array")
    assert "train_x.npy is no whole array" in refused(folder)
    for kind in ("npz", "parquet", "arrow"):
        file = write(tmp_path, x, y, split, kind)
        file.write_bytes(file.read_bytes()[:200])
        assert "data." in refused(file)


def test_rows_that_are_missing_or_uneven_in_columns_are_named(tmp_path):
    y = np.arange(4) % 2
    for name, values, complaint in (
        ("null", pa.array([[1.0], None, [2.0], [3.0]]), "lacks 1 of its values"),
        ("inner", pa.array([[1.0], [None], [2.0], [3.0]]), "lacks 1 of its values"),
        ("uneven", pa.array([[1.0], [1.0, 2.0], [2.0], [3.0]]), "lists of unequal length"),
        ("words", pa.array([["a"], ["b"], ["c"], ["d"]]), "values of type <U"),
        ("pairs", pa.array([{"a": 1}] * 4), "values of type struct"),
    ):
        pq.write_table(pa.table({"x": values, "y": y}), tmp_path / f"{name}.parquet")
        assert complaint in refused(tmp_path / f"{name}.parquet")


def test_lists_that_become_longer_in_a_later_group_are_named(tmp_path):
    path = tmp_path / "later.parquet"
    lists = [[1.0, 2.0]] * 4 + [[1.0, 2.0, 3.0]] * 4
    pq.write_table(pa.table({"x": lists, "y": np.arange(8) % 2}), path, row_group_size=4)
    assert "lists of unequal length" in refused(path)


def test_unknown_words_of_a_split_are_named(tmp_path):
    x, y = vectors()
    words = np.where(split_of(y) == "val", "dev", split_of(y))
    pq.write_table(
        pa.table({"x": column(x), "y": y, "split": words.tolist()}), tmp_path / "d.parquet"
    )
    assert "column split of" in refused(tmp_path / "d.parquet")
    assert "holds 'dev'" in refused(tmp_path / "d.parquet")


def test_a_path_without_arrays_is_refused_with_what_is_read(tmp_path):
    assert "a folder of .npy files, or a file that ends in .npz" in refused(tmp_path / "none.npz")
    assert "lacks x, y" in refused(tmp_path)
    np.savez(tmp_path / "own.npz", inputs=np.ones((2, 2)), labels=np.ones(2))
    assert "lacks x, y" in refused(tmp_path / "own.npz")
    assert "it has inputs, labels" in refused(tmp_path / "own.npz")
    (tmp_path / "data.mat").write_bytes(b"")
    assert "no file of arrays that is read" in refused(tmp_path / "data.mat")


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    x, y = vectors()
    np.savez(tmp_path / "data.npz", x=np.array([{"a": 1}] * 24, dtype=object), y=y)
    monkeypatch.setattr("pickle.load", lambda *a, **k: pytest.fail("unpickled"))
    monkeypatch.setattr("pickle.loads", lambda *a, **k: pytest.fail("unpickled"))
    assert "nothing is unpickled" in refused(tmp_path / "data.npz")
