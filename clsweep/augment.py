"""Random views of training images: flips and shifts, drawn on the CPU, made on the images' device.

    flip        mirrored left to right with probability ½
    crop_flip   first a border of p zero pixels is added on each side and a part of the image's
                size cut out at a place drawn uniformly from (2p + 1)²; p is an eighth of the
                shorter side: 4 for 32 pixels (He et al. 2016), 3 for 28, 1 for 8

One draw per epoch and position of the order of batches, from a generator of its own: the same for
every method, phase, device and batch size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.draws import generator

__all__ = ["augmented", "views"]


def views(
    augment: str, seed: int, task: int, epoch: int, n_examples: int
) -> Callable[[Tensor, int], Tensor]:
    """(images uint8 [B, C, H, W], position of the first in the epoch's order) -> their views.

    Args:
        augment: 'none', 'flip' or 'crop_flip'.
        seed: the trial's seed.
        task: the task's index.
        epoch: number of the pass.
        n_examples: size of the training set.
    """
    if augment == "none":
        return lambda raw, first: raw
    rng = generator(seed, "augment", task, epoch)
    flip = torch.rand(n_examples, generator=rng) < 0.5
    place = torch.rand(n_examples, 2, generator=rng, dtype=torch.float64)

    def view(raw: Tensor, first: int) -> Tensor:
        here = slice(first, first + len(raw))
        border = min(raw.shape[2:]) // 8 if augment == "crop_flip" else 0
        shift = (place[here] * (2 * border + 1)).long()
        return augmented(raw, flip[here].to(raw.device), shift.to(raw.device), border)

    return view


def augmented(raw: Tensor, flip: Tensor, shift: Tensor, border: int) -> Tensor:
    """Images cut out of their padded selves, then mirrored.

    Args:
        raw: [B, C, H, W].
        flip: which are mirrored left to right, bool [B].
        shift: row and column, in the padded image, where the cut begins, int64 [B, 2].
        border: zero pixels added on each side.
    """
    n, n_channels, height, width = raw.shape
    columns = torch.arange(width, device=raw.device).expand(n, width)
    columns = torch.where(flip[:, None], columns.flip(1), columns) + shift[:, 1:]
    rows = torch.arange(height, device=raw.device) + shift[:, :1]
    index = rows[:, :, None] * (width + 2 * border) + columns[:, None, :]
    padded = F.pad(raw, (border,) * 4).flatten(2)
    chosen = index.flatten(1)[:, None].expand(-1, n_channels, -1)
    found: Tensor = padded.gather(2, chosen).unflatten(2, (height, width))
    return found
