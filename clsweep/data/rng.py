"""All randomness: a seed and a purpose name a generator, so that order of execution cannot matter.

Generators live on the CPU on every device, hence a study draws the same numbers with and without
a GPU, on one worker and on many.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A fresh generator for one purpose of one seed.

    Args:
        seed: the trial's seed.
        purpose: what the numbers are for, for example ("batches", task, epoch).
    """
    text = json.dumps([seed, *purpose], separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@contextmanager
def seeded_globally(rng: torch.Generator) -> Iterator[None]:
    """For code that draws from torch's global generator: seeded inside the block, restored after.

    Args:
        rng: draws the seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))
        yield


def batch_indices(
    seed: int, task: int, n_examples: int, batch_size: int, n_steps: int
) -> Iterator[Tensor]:
    """Row indices of the training batches of one task, epoch by epoch, int64 [n of the epoch].

    Every epoch is a permutation; its last batch may be short. The last epoch is cut so that
    `n_steps` batches come out in all. Every method sees the same batches in the same order.

    Args:
        seed: the trial's seed.
        task: the task's index.
        n_examples: size of the training set, at least 1.
        batch_size: examples per step.
        n_steps: number of batches over all epochs.
    """
    per_epoch = -(-n_examples // batch_size)
    epoch = 0
    while n_steps > 0:
        order = torch.randperm(n_examples, generator=generator(seed, "batches", task, epoch))
        yield order[: min(n_steps, per_epoch) * batch_size]
        n_steps -= per_epoch
        epoch += 1
