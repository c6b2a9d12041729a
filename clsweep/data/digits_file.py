"""The digits that come with scikit-learn, read from its file: importing it would take a second."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from numpy import int64, uint8
    from numpy.typing import NDArray


class Digits(NamedTuple):
    """All digits, in scikit-learn's order.

    Attributes:
        pixels: in 0..16, uint8 [1797, 8, 8].
        labels: in 0..9, int64 [1797].
    """

    pixels: NDArray[uint8]
    labels: NDArray[int64]


def read_digits() -> Digits:
    """The digits; every line of the file has 64 pixels and a label."""
    import numpy as np

    spec = importlib.util.find_spec("sklearn")
    assert spec is not None
    folder = Path(next(iter(spec.submodule_search_locations or ())))
    text = gzip.decompress((folder / "datasets" / "data" / "digits.csv.gz").read_bytes())
    table = np.array([line.split(b",") for line in text.splitlines()], dtype=np.uint8)
    return Digits(table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64))
