"""Whether a net can be built: smallest image, weights that lie there, a factory that is named.

Known without torch, so that `clsweep plan` says it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.data.benchmark_specs import BenchmarkConfig
from clsweep.data.dataset_lookup import dataset_spec
from clsweep.data.input_checks import is_image, shape_words
from clsweep.errors import StudyError
from clsweep.nets.code_files import factory_complaint
from clsweep.process_environment import expanded

if TYPE_CHECKING:
    from clsweep.nets.config import NetConfig

# Padding 2, 5×5, pooling, 5×5 without padding, pooling: 12 -> 12 -> 6 -> 2 -> 1.
_LENET_SIDE = 12

# Every halving rounds up; 2×2 values are left to average, and to normalise a single image by.
_HALVINGS = {"resnet32": 2, "resnet18": 3}

# Shorter side below which a model of torchvision pools everything away, by the start of its name;
# families that are not listed take images of any size, or are not known here.
_TORCHVISION = {
    "alexnet": 63,
    "convnext": 32,
    "densenet": 29,
    "googlenet": 15,
    "inception_v3": 75,
    "squeezenet1_0": 21,
    "squeezenet1_1": 17,
    "vgg": 32,
}
_VIT, _VIT_SIDE = "vit_", 224


def check_image(config: NetConfig, shape: tuple[int, ...]) -> None:
    """Refuse inputs that are no images where the net needs them, and images that are too small.

    Args:
        config: the study's `[net]`.
        shape: of the benchmark's inputs, (C, H, W) for images.

    Raises:
        StudyError: the net would leave nothing of them, or takes none of that shape.
    """
    if config.name in ("mlp", "custom"):
        return
    if not is_image(shape):
        raise StudyError(
            f"the net '{config.name}' takes images, and the benchmark's inputs are "
            f"{shape_words(shape)}",
            expected="net 'mlp', or 'custom' for a module of your own",
            where="[net] name",
        )
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
    if config.name == "torchvision":
        _check_torchvision(config.model, shape)
    least = {"lenet": _LENET_SIDE} | {name: 2**n + 1 for name, n in _HALVINGS.items()}
    if side < least.get(config.name, 1):
        raise StudyError(
            f"images of {pixels} are too small for the net '{config.name}'",
            expected=f"at least {least[config.name]}x{least[config.name]} pixels, or another net",
            where=where,
            next_step=larger,
        )


def _check_torchvision(model: str, shape: tuple[int, ...]) -> None:
    n_channels, height, width = shape
    if n_channels not in (1, 3):
        raise StudyError(
            f"images of {n_channels} channels do not fit torchvision's '{model}'",
            expected="1 or 3 channels, or another net",
            where="[net] model",
        )
    found = next((n for name, n in _TORCHVISION.items() if model.startswith(name)), 1)
    expected = f"at least {found}x{found} pixels"
    fits = min(height, width) >= found
    if model.startswith(_VIT):
        expected, fits = f"{_VIT_SIDE}x{_VIT_SIDE} pixels", height == width == _VIT_SIDE
    if not fits:
        raise StudyError(
            f"images of {height}x{width} pixels do not fit torchvision's '{model}'",
            expected=f"{expected}, or another model",
            where="[net] model",
            next_step="images of another size: [benchmark] pad adds a border of zeros; resize is "
            "for folder:PATH",
        )


def benchmark_shape(config: BenchmarkConfig, root: Path | None) -> tuple[int, ...]:
    """Shape of the benchmark's inputs, (C, H, W) of padded images, without loading any.

    Args:
        config: the benchmark.
        root: the data root, see `dataset_spec`.

    Raises:
        StudyError: there is no such data set.
    """
    shape = dataset_spec(config.shape_dataset, root, config.framing).shape
    if not is_image(shape):
        return shape
    n_channels, height, width = shape
    return n_channels, height + 2 * config.pad, width + 2 * config.pad


def check_factory(config: NetConfig) -> None:
    """Refuse a factory that cannot be imported, as far as it shows without importing it.

    Args:
        config: the study's `[net]`.

    Raises:
        StudyError: there is no such module, or no such name in it.
    """
    complaint = factory_complaint(config.factory) if config.name == "custom" else ""
    if complaint:
        raise StudyError(
            f"'{config.factory}' cannot be imported: {complaint}",
            expected="package.module:factory",
            where="[net] factory",
            next_step="the module must be importable here and on every worker (installed, or in "
            "the current folder with PYTHONPATH=.)",
        )


def weights_file(config: NetConfig, root: Path | None) -> Path | None:
    """Where the pretrained weights lie, or None if the net starts from drawn ones.

    Args:
        config: the study's `[net]`.
        root: the data root; a relative path is looked up there, or in the current folder if None.
            What lies beside the study file comes before, see `Study.located_net`.

    Raises:
        StudyError: there is no such file; nothing is ever downloaded.
    """
    if not config.weights:
        return None
    path = expanded(Path(config.weights), "[net] weights")
    path = path if root is None else root / path
    if path.is_file():
        return path
    model = config.model
    raise StudyError(
        f"there is no file '{path}' with weights of '{model}', and none is downloaded",
        expected="a file with the model's state dict (.pth, .pt or .safetensors), beside the "
        "study file or below the data root if the path is relative",
        where="[net] weights",
        next_step="where there is a network: import torch, torchvision; torch.save("
        f"torchvision.models.get_model('{model}', weights='DEFAULT').state_dict(), "
        f"'{model}.pth')",
    )
