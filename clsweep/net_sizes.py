"""How small an image a net can take; known without torch, so that `clsweep plan` says it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.catalog import BenchmarkConfig, dataset_spec
from clsweep.errors import StudyError

if TYPE_CHECKING:
    from clsweep.settings import NetConfig

__all__ = ["check_image", "benchmark_shape"]

# Padding 2, 5×5, pooling, 5×5 without padding, pooling: 12 -> 12 -> 6 -> 2 -> 1.
_LENET_SIDE = 12
# Every halving rounds up; 2×2 values are left to average, and to normalise a single image by.
_HALVINGS = {"resnet32": 2, "resnet18": 3}


def check_image(config: NetConfig, shape: tuple[int, int, int]) -> None:
    """Refuse images of which the net would leave nothing.

    Args:
        config: the study's `[net]`.
        shape: (C, H, W) of the benchmark's images.

    Raises:
        StudyError: they are too small.
    """
    side, pixels = min(shape[1:]), f"{shape[1]}x{shape[2]} pixels"
    where = "[net] name"
    larger = "larger images: [benchmark] pad adds a border of zeros"
    if config.name == "conv" and side < 2 ** len(config.channels):
        raise StudyError(
            f"{len(config.channels)} convolutions, each halving the image, leave nothing of "
            f"{pixels}",
            expected=f"fewer channels entries, or {larger}",
            where="[net] channels",
        )
    least = {"lenet": _LENET_SIDE} | {name: 2**n + 1 for name, n in _HALVINGS.items()}
    if side < least.get(config.name, 1):
        raise StudyError(
            f"images of {pixels} are too small for the net '{config.name}'",
            expected=f"at least {least[config.name]}x{least[config.name]} pixels, or another net",
            where=where,
            next_step=larger,
        )


def benchmark_shape(config: BenchmarkConfig, root: Path | None) -> tuple[int, int, int]:
    """(C, H, W) of the benchmark's images, padded, without loading any.

    Args:
        config: the benchmark.
        root: the data root, see `dataset_spec`.

    Raises:
        StudyError: there is no such data set.
    """
    n_channels, height, width = dataset_spec(config.dataset, root, config.framing).shape
    return n_channels, height + 2 * config.pad, width + 2 * config.pad
