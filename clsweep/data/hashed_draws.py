"""Orders drawn by hashing: the same on every machine, and in processes without torch."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import int64, uint64
    from numpy.typing import NDArray


def random_bits(n: int, *purpose: int | str) -> NDArray[uint64]:
    """Uniform 64-bit numbers, uint64 [n], that depend on `purpose` alone.

    They are the same in every process and for every numpy: unlike the methods of its Generator,
    a bit generator's raw stream is guaranteed not to change between releases.

    Args:
        n: how many.
        purpose: seeds and words that name the draw.
    """
    import numpy as np

    text = json.dumps(purpose, separators=(",", ":"))
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    return np.random.PCG64(seed).random_raw(n)


def random_order(n: int, *purpose: int | str) -> NDArray[int64]:
    """A uniformly random permutation of 0..n-1, int64 [n]; see `random_bits`."""
    return random_bits(n, *purpose).argsort(kind="stable")
