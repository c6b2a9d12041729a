import mmap

import numpy as np
import pytest
import torch

from clsweep.data import stored_rows
from clsweep.data.numpy_files import npy_file
from clsweep.data.stored_rows import Piece, StoredRows, joined_rows, rows_tensor


def pieces(*sizes):
    values = torch.arange(sum(sizes) * 6, dtype=torch.float32).view(-1, 1, 2, 3)
    return values, [Piece(part) for part in values.split(list(sizes))]


@pytest.mark.parametrize("sizes", [(7,), (3, 4), (1, 0, 5, 1)])
def test_rows_are_those_of_one_tensor(sizes):
    values, parts = pieces(*sizes)
    rows = StoredRows(parts)
    assert rows.shape == (7, 1, 2, 3)
    for index in ([0], [6, 0, 3, 3], list(range(7))):
        index = torch.tensor(index)
        assert torch.equal(rows.index_select(0, index), values[index])


def test_rows_have_an_order_of_their_own():
    values, parts = pieces(3, 4)
    order = torch.tensor([6, 2, 0])
    rows = StoredRows(parts, order)
    assert len(rows) == 3
    assert torch.equal(rows.index_select(0, torch.tensor([0, 1])), values[[6, 2]])


def test_padding_is_that_of_the_whole():
    values, parts = pieces(3, 4)
    padded = StoredRows(parts).padded(2)
    expected = torch.nn.functional.pad(values, (2,) * 4)
    assert padded.shape == tuple(expected.shape)
    assert torch.equal(padded.index_select(0, torch.arange(7)), expected)


def test_what_is_gathered_is_a_copy():
    values, parts = pieces(7)
    StoredRows(parts).index_select(0, torch.arange(7)).zero_()
    assert values.sum() > 0


def test_stores_are_joined_without_being_read():
    values, parts = pieces(3, 4)
    one, other = StoredRows(parts, torch.tensor([5, 1])), values[:2]
    joined = joined_rows([one, other])
    assert isinstance(joined, StoredRows)
    assert torch.equal(joined.index_select(0, torch.tensor([3, 0, 1])), values[[1, 5, 1]])
    assert torch.equal(joined_rows([other, other]), torch.cat([other, other]))


def test_large_rows_are_prepared_a_few_at_a_time(monkeypatch):
    values, parts = pieces(7)
    monkeypatch.setattr(stored_rows, "_PREPARED_BYTES", 3 * 24 + 5)
    assert stored_rows.rows_at_once(StoredRows(parts), 1024) == 3
    assert stored_rows.rows_at_once(StoredRows(parts), 2) == 2
    assert stored_rows.rows_at_once(values, 1024) == 1024
    monkeypatch.setattr(stored_rows, "_PREPARED_BYTES", 5)
    assert stored_rows.rows_at_once(StoredRows(parts), 1024) == 1


def test_many_rows_go_to_a_device_batch_by_batch(monkeypatch):
    values, parts = pieces(3, 4)
    rows = StoredRows(parts)
    assert rows.to("cpu") is rows
    whole = rows.to("meta")  # stands for a GPU
    assert isinstance(whole, torch.Tensor)
    assert whole.device.type == "meta"
    monkeypatch.setattr(stored_rows, "_WHOLE_BYTES", 7 * 24 - 1)
    kept = rows.to("meta")
    assert isinstance(kept, StoredRows)
    found = kept.index_select(0, torch.tensor([4, 1]))
    assert found.device.type == "meta"
    assert found.shape == (2, 1, 2, 3)


def test_pages_of_a_mapped_file_are_given_back(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.arange(40, dtype=np.float32).reshape(10, 4))
    array = npy_file("x", tmp_path / "x.npy")
    assert isinstance(array.mapping, mmap.mmap)
    given_back = []
    monkeypatch.setattr(stored_rows, "drop_pages", given_back.append)
    pieces = [Piece(rows_tensor(array.pieces()[0], (4,)), array.mapping)]
    StoredRows(pieces).index_select(0, torch.arange(10))
    assert not given_back  # it may stay mapped as a whole
    monkeypatch.setattr(stored_rows, "_MAPPED_BYTES", 100)
    monkeypatch.setattr(stored_rows, "_WINDOW_BYTES", 15)
    rows = StoredRows(pieces)
    for _ in range(3):
        found = rows.index_select(0, torch.tensor([2]))
    assert given_back == [array.mapping]
    assert found.tolist() == [[8, 9, 10, 11]]
