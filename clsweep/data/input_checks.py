"""Whether a benchmark can be made of its inputs: images or vectors, bytes or floating point.

Known without torch, so that `clsweep plan` says it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clsweep.data.benchmark_specs import BenchmarkConfig, RotatedBenchmark
from clsweep.data.dataset_lookup import dataset_spec
from clsweep.data.dataset_specs import ARRAYS
from clsweep.errors import StudyError


class InputKind(NamedTuple):
    """What the inputs of a data set are.

    Attributes:
        name: of the data set.
        shape: of an input, (C, H, W) for images.
        dtype: of its values: 'uint8', 'float32', ...
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def is_float(self) -> bool:
        """Whether values are floating point, not bytes."""
        return self.dtype != "uint8"


def input_kinds(config: BenchmarkConfig, root: Path | None) -> list[InputKind]:
    """The inputs of a benchmark's data sets, without loading them.

    Args:
        config: the benchmark.
        root: the data root, see `dataset_lookup.dataset_spec`.
    """
    specs = [dataset_spec(name, root, config.framing) for name in config.datasets]
    return [InputKind(spec.name, spec.shape, spec.dtype) for spec in specs]


def check_inputs(config: BenchmarkConfig, kinds: Sequence[InputKind]) -> None:
    """Refuse what the inputs of a benchmark's data sets do not allow.

    Args:
        config: the benchmark.
        kinds: of its data sets, in their order.

    Raises:
        StudyError: vectors are to be rotated or padded, bytes to be treated as floating point or
            the other way round, or the data sets of several tasks do not go together.
    """
    first = next(kind for kind in kinds if kind.name == config.shape_dataset)
    if not is_image(first.shape):
        _check_no_images(config, first)
    _check_type(config, first)
    for kind in kinds:
        _check_together(first, kind)


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether an input of that shape is an image, (C, H, W)."""
    return len(shape) == 3


def shape_words(shape: tuple[int, ...]) -> str:
    """A shape in a sentence: 'vectors of 64 numbers', 'images of shape [3, 8, 8]'."""
    if len(shape) == 1:
        return f"vectors of {shape[0]:,} numbers"
    return f"{'images' if is_image(shape) else 'inputs'} of shape {list(shape)}"


def _check_no_images(config: BenchmarkConfig, kind: InputKind) -> None:
    found = f"'{kind.name}' holds {shape_words(kind.shape)}"
    if isinstance(config, RotatedBenchmark):
        raise StudyError(
            f"{found}, which cannot be rotated",
            expected="images [N, C, H, W] or [N, H, W]",
            where="[benchmark] name",
            next_step="name = 'permuted' or 'split' takes inputs of any shape",
        )
    if config.pad:
        raise StudyError(
            f"{found}, which have no border to pad",
            expected="pad = 0, or images [N, C, H, W] or [N, H, W]",
            where="[benchmark] pad",
        )


def _check_type(config: BenchmarkConfig, kind: InputKind) -> None:
    if kind.is_float and config.pixels != "unit":
        raise StudyError(
            f"'{kind.name}' holds {kind.dtype}, and pixels is for bytes",
            expected="features = 'standardized'",
            where="[benchmark] pixels",
        )
    if not kind.is_float and config.features != "stored":
        raise StudyError(
            f"'{kind.name}' holds bytes, and features is for floating point",
            expected="pixels = 'standardized'",
            where="[benchmark] features",
        )


def _check_together(first: InputKind, other: InputKind) -> None:
    """Only images of bytes that are in memory are brought to another size."""
    if first.dtype != other.dtype:
        raise StudyError(
            f"'{first.name}' holds {first.dtype}, '{other.name}' {other.dtype}",
            expected="one type of values in all tasks",
            where="[benchmark]",
            next_step="save both as float32",
        )
    is_fixed = other.name.startswith(ARRAYS) or not is_image(first.shape)
    if is_fixed and first.shape != other.shape:
        raise StudyError(
            f"'{first.name}' holds {shape_words(first.shape)}, '{other.name}' "
            f"{shape_words(other.shape)}",
            expected="one shape in all tasks; arrays are not resized",
            where="[benchmark]",
            next_step="bring the arrays to one shape before they are saved",
        )
