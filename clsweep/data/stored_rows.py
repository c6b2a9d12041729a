"""Rows of arrays in memory or on the disk, gathered as they are asked for.

In place of one tensor of all inputs: parts of a data set need not be copied into one, and what is
mapped may be larger than memory.
"""

from __future__ import annotations

import math
import mmap
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from clsweep.data.mapped_memory import drop_pages

# The kernel maps pages in windows of this size where it reads one.
_WINDOW_BYTES = 1 << 16
# What may be mapped before it is given back: of a process's memory, not of its files.
_MAPPED_BYTES = 1 << 27
# What rows that are prepared together may hold.
_PREPARED_BYTES = 1 << 26
# Up to this size a data set is copied to a GPU whole.
_WHOLE_BYTES = 1 << 31


class Piece(NamedTuple):
    """Consecutive rows.

    Attributes:
        values: [n, ...].
        mapping: the file that they lie in; None for memory.
    """

    values: Tensor | StoredRows
    mapping: mmap.mmap | None = None


class StoredRows:
    """Rows in an order of their own, from pieces of one shape and type.

    Attributes:
        shape: (N, ...), of all rows after padding.
        dtype: of their values.
        device: where rows arrive.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        order: Tensor | None = None,
        pad: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """Put pieces one after another.

        Args:
            pieces: at least one.
            order: place among the pieces' rows of every row, int64 [N]; None for their own order.
            pad: zeros added on each side of the last two axes.
            device: where rows arrive.
        """
        self.pieces, self.order, self.pad = tuple(pieces), order, pad
        self.device = torch.device(device)
        first = pieces[0].values
        sizes = [len(piece.values) for piece in pieces]
        self._starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self._n_mapped = 0  # bytes, since pages were last given back
        n = sum(sizes) if order is None else len(order)
        sides = [side + 2 * pad if pad else side for side in first.shape[-2:]]
        inner = (*first.shape[1:-2], *sides) if first.ndim > 2 else tuple(first.shape[1:])
        self.shape: tuple[int, ...] = (n, *inner)
        self.dtype: torch.dtype = first.dtype
        n_mapped = sum(len(piece.values) for piece in pieces if piece.mapping is not None)
        self._is_small = n_mapped * self.row_bytes <= _MAPPED_BYTES

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Rows at positions, a new tensor [B, ...] on the device.

        Args:
            dim: 0.
            index: positions, int64 [B].
        """
        assert dim == 0
        rows = index.to("cpu") if self.order is None else self.order[index.to("cpu")]
        found = self._gathered(rows)
        return F.pad(found, (self.pad,) * 4) if self.pad else found

    def _gathered(self, rows: Tensor) -> Tensor:
        if len(self.pieces) == 1:
            return self._read(self.pieces[0], rows)
        owner = torch.searchsorted(self._starts, rows, right=True) - 1
        owners = owner.unique().tolist()
        if len(owners) == 1:
            return self._read(self.pieces[owners[0]], rows - self._starts[owners[0]])
        shape = (len(rows), *self.pieces[0].values.shape[1:])
        found = torch.empty(shape, dtype=self.dtype, device=self.device)
        for number in owners:
            here = owner == number
            read = self._read(self.pieces[number], rows[here] - self._starts[number])
            found[here.to(self.device)] = read
        return found

    def _read(self, piece: Piece, rows: Tensor) -> Tensor:
        found = piece.values.index_select(0, rows.to(piece.values.device))
        if piece.mapping is not None and not self._is_small:
            # A row begins and ends in the middle of a window.
            n_windows = self.row_bytes // _WINDOW_BYTES + 2
            self._n_mapped += len(rows) * n_windows * _WINDOW_BYTES
            if self._n_mapped > _MAPPED_BYTES:
                for one in self.pieces:
                    drop_pages(one.mapping)
                self._n_mapped = 0
        return found.to(self.device)

    def padded(self, pad: int) -> StoredRows:
        """The same rows with zeros around.

        Args:
            pad: zeros on each side of the last two axes.
        """
        return StoredRows(self.pieces, self.order, self.pad + pad, self.device)

    def to(self, device: torch.device | str) -> Tensor | StoredRows:
        """The same rows on another device: copied to it whole, or batch by batch if they are many.

        Args:
            device: 'cpu', or a GPU.
        """
        if torch.device(device) == self.device:
            return self
        if len(self) * self.row_bytes <= _WHOLE_BYTES:
            return self.index_select(0, torch.arange(len(self))).to(device)
        return StoredRows(self.pieces, self.order, self.pad, device)


def rows_at_once(inputs: Tensor | StoredRows, most: int) -> int:
    """How many rows are prepared together: `most`, or fewer where rows of arrays are large.

    Args:
        inputs: of a data set.
        most: where rows are small, or lie in one tensor.
    """
    if isinstance(inputs, Tensor):
        return most
    # As the network gets them, in float32.
    return min(most, max(1, _PREPARED_BYTES // (4 * math.prod(inputs.shape[1:]))))


def rows_tensor(array: NDArray[Any], row_shape: tuple[int, ...]) -> Tensor:
    """An array as a tensor that shares its memory, which is never written to.

    Args:
        array: [n, ...].
        row_shape: shape of a row, as many values as the array's.
    """
    with warnings.catch_warnings():
        # That it may not be written to: nobody does.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        found = torch.from_numpy(array)
    return found if tuple(found.shape[1:]) == row_shape else found.unsqueeze(1)


def joined_rows(stores: Sequence[Tensor | StoredRows]) -> Tensor | StoredRows:
    """Rows of several stores one after another; tensors alone are copied into one.

    Args:
        stores: of one shape and type, on one device.
    """
    if all(isinstance(store, Tensor) for store in stores):
        return torch.cat([store for store in stores if isinstance(store, Tensor)])
    return StoredRows([Piece(store) for store in stores], device=stores[0].device)
