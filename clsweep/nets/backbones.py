"""Backbones: frozen networks without their last layer, which turn images into feature vectors.

    a model of torchvision, such as 'resnet18'     what its last linear layer reads, [B, D]
    'package.module:factory'                       factory(input_shape) -> nn.Module, whose outputs
                                                   are the features; flattened to [B, D]

In evaluation mode: batch norms use their running statistics, which are read from the file of
weights with everything else, and dropout is off. Without a file the weights are drawn from a
seed, and running statistics are those of a new network (mean 0, variance 1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsweep.data.rng import generator, seeded_globally
from clsweep.errors import StudyError
from clsweep.nets.code_files import check_unedited
from clsweep.nets.modules import last_layer
from clsweep.nets.parameter_trees import Params
from clsweep.nets.torchvision_models import (
    check_name,
    fill,
    initial_model,
    state_dict,
    without_auxiliary,
)
from clsweep.signals import contained
from clsweep.user_code import checked_call, is_import_path, user_code

_WHERE, _WEIGHTS = "--backbone", "--weights"

# Outputs of the classification models of torchvision as published, on ImageNet.
_N_PUBLISHED = 1000

# Means and standard deviations of red, green and blue on ImageNet, for values in [0, 1]; what
# published weights of torchvision expect.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Preprocessing(NamedTuple):
    """From stored images to a backbone's inputs, as Resize and CenterCrop of torchvision do.

    Attributes:
        resize: pixels of the shorter side, bilinear and antialiased; 0 leaves the size.
        crop: side of the square that is then cut from the centre; 0 leaves the image.
        pixels: 'unit': bytes / 255; 'imagenet': then minus the mean, over the standard deviation
            of ImageNet per channel.
        n_channels: 3 repeats images of one channel; 0 leaves them as they are.
    """

    resize: int
    crop: int
    pixels: str
    n_channels: int

    def __call__(self, raw: Tensor) -> Tensor:
        """Inputs, float32 [B, C, H, W].

        Args:
            raw: images as stored, [B, C, H, W]; bytes, or floating point that is left as it is.

        Raises:
            StudyError: they are smaller than what is to be cut out of them.
        """
        x = raw.to(torch.float32)
        if not raw.is_floating_point():
            x = x / 255
        if self.n_channels and x.shape[1] == 1:
            x = x.expand(-1, self.n_channels, -1, -1)
        height, width = x.shape[2:]
        if self.resize and self.resize != min(height, width):
            short = min(height, width)
            size = int(self.resize * height / short), int(self.resize * width / short)
            x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        if side := self.crop:
            height, width = x.shape[2:]
            if side > min(height, width):
                raise StudyError(
                    f"an image of {width}x{height} pixels is smaller than --crop {side}",
                    where="--crop",
                    next_step=f"add --resize {side}, or lower it",
                )
            top, left = round((height - side) / 2), round((width - side) / 2)
            x = x[:, :, top : top + side, left : left + side]
        if self.pixels == "imagenet":
            mean, deviation = (torch.tensor(v, device=x.device)[:, None, None] for v in _IMAGENET)
            x = (x - mean) / deviation
        return x


def backbone(
    name: str, weights: Path | None, seed: int, input_shape: tuple[int, ...]
) -> nn.Module:
    """A backbone in evaluation mode, nothing of which is trained.

    Args:
        name: of a model of torchvision, or 'package.module:factory'.
        weights: file with its state dict; None to draw the weights.
        seed: of the weights that are drawn.
        input_shape: (C, H, W) of its inputs, which a factory is told.

    Raises:
        StudyError: there is no such backbone, or the weights do not fit it.
    """
    rng = generator(seed, "backbone")
    make = _users_module if is_import_path(name) else _torchvision_module
    module = make(name, weights, rng, input_shape)
    return module.float().eval().requires_grad_(False)


def features_of(module: nn.Module, name: str, x: Tensor) -> Tensor:
    """Features, float32 [B, D].

    Args:
        module: a backbone.
        name: what messages call it.
        x: its inputs, float32 [B, C, H, W].

    Raises:
        StudyError: it fails, or returns something else.
    """
    try:
        with torch.inference_mode(), contained():
            found = module(x)
    except Exception as error:  # a forward pass may run the user's code
        raise StudyError(
            f"the backbone '{name}' fails on inputs {tuple(x.shape)}: "
            f"{type(error).__name__}: {error}",
            where=_WHERE,
            next_step="--resize and --crop bring images to the size that it expects",
        ) from error
    if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(x):
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise StudyError(
            f"the backbone '{name}' returns {what} for {len(x)} images",
            expected=f"a tensor ({len(x)}, D)",
            where=_WHERE,
        )
    found = found.flatten(1).float()
    if not bool(found.isfinite().all()):
        raise StudyError(
            f"the backbone '{name}' returns NaN or infinite features",
            expected="finite numbers",
            where=_WHERE,
            next_step="look at its weights, and at --pixels",
        )
    return found


def _torchvision_module(
    name: str, weights: Path | None, rng: torch.Generator, input_shape: tuple[int, ...]
) -> nn.Module:
    check_name(name, _WHERE)
    module = initial_model(name, _N_PUBLISHED, rng)
    last = last_layer(module, _N_PUBLISHED)
    if not last:
        raise StudyError(
            f"torchvision's '{name}' does not end in a linear layer",
            expected="a model whose features are what its last linear layer reads",
            where=_WHERE,
            next_step="write a module of your own: --backbone package.module:factory",
        )
    if weights is not None:
        loaded = state_dict(weights, _WEIGHTS)
        kept = without_auxiliary(name, loaded)
        # What is published of these models was trained on values in [-1, 1]; torchvision, too,
        # makes them of ImageNet's scale in the model's first step.
        if len(kept) < len(loaded):
            cast(Any, module).transform_input = True
        _fill_all(module, kept, weights, last)
    parent, _, child = last.rpartition(".")
    setattr(module.get_submodule(parent), child, nn.Identity())
    return module


def _users_module(
    name: str, weights: Path | None, rng: torch.Generator, input_shape: tuple[int, ...]
) -> nn.Module:
    expected = "factory(input_shape) -> torch.nn.Module that returns features"
    code = user_code(name, where=_WHERE, expected=expected)
    check_unedited(code.path, _WHERE)

    def check(found: object) -> str:
        return "" if isinstance(found, nn.Module) else f"returned a {type(found).__name__}"

    with seeded_globally(rng):
        module: nn.Module = checked_call(code, check, input_shape)
    if weights is not None:
        _fill_all(module, state_dict(weights, _WEIGHTS), weights, "")
    return module


def _fill_all(module: nn.Module, loaded: Params, weights: Path, last: str) -> None:
    """Copy parameters and buffers; counts of batches have no use, and need not be there."""
    counts = {n for n, _ in module.named_buffers() if n.endswith(".num_batches_tracked")}
    own: Params = {n: v for n, v in module.state_dict().items() if n not in counts}
    fill(own, loaded, f"'{weights}'", _WEIGHTS, last=last, unread=counts)
