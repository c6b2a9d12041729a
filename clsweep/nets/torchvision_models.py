"""The classification models of torchvision by name, drawn anew or with weights from a local file.

The last layer has an output for every class of the study and is always drawn. Everything else is
the model's own, with two differences. Dropout and stochastic depth are switched off: a forward
pass draws nothing. Images with one channel are repeated to the three that the models expect.
Running statistics are not read from the file: they are set from the first task's data, see
`clsweep.training.batch_norm_statistics`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from clsweep.data.benchmark_specs import Heads
from clsweep.data.rng import seeded_globally
from clsweep.errors import StudyError, closest_name
from clsweep.nets.bodies import Shape
from clsweep.nets.modules import Origin, Parts, last_layer, module_parts
from clsweep.nets.parameter_trees import Params

_RANDOM = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, StochasticDepth)


def torchvision_parts(name: str, weights: Path | None, input_shape: Shape, heads: Heads) -> Parts:
    """The functions of a torchvision model; its outputs are divided among the tasks.

    Args:
        name: as `torchvision.models.list_models` has it.
        weights: file with a state dict, or None.
        input_shape: (C, H, W) of the benchmark's images, C 1 or 3.
        heads: the benchmark's heads, `n_outputs` in all.

    Raises:
        StudyError: there is no such model, or it does not fit the images or the file.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise StudyError(
            f"torchvision has no classification model '{name}'",
            expected=closest_name(name, known),
            where="[net] model",
        )
    loaded = None if weights is None else _loaded(weights)

    def make(rng: torch.Generator) -> nn.Module:
        with seeded_globally(rng):
            module: nn.Module = torchvision.models.get_model(
                name, weights=None, num_classes=heads.n_outputs, **_options(name)
            )
        for layer in module.modules():
            if isinstance(layer, _RANDOM):
                layer.p = 0.0
        if input_shape[0] == 1:
            module.register_forward_pre_hook(_in_three_channels)
        if loaded is not None:
            assert weights is not None
            _fill(module, loaded, weights, heads.n_outputs)
        return module

    return module_parts(make, Origin(f"torchvision's '{name}'", "[net] model"), input_shape, heads)


def _options(name: str) -> dict[str, Any]:
    """Arguments without which two models warn or return more than logits."""
    if name not in ("googlenet", "inception_v3"):
        return {}
    return {"aux_logits": False, "init_weights": True}


def _in_three_channels(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return (args[0].expand(-1, 3, -1, -1),)


def _loaded(path: Path) -> Params:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the file holds
        found = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    if isinstance(found, dict) and found and all(isinstance(v, Tensor) for v in found.values()):
        return dict(found)
    raise StudyError(
        f"'{path}' holds no weights"
        + (f" ({found})" if isinstance(found, str) else f" but a {type(found).__name__}"),
        expected="a state dict, tensors by name, as torch.save(model.state_dict(), FILE) writes",
        where="[net] weights",
    )


def _fill(module: nn.Module, loaded: Params, path: Path, n_outputs: int) -> None:
    """Copy every parameter but the last layer's; buffers of the file are not looked at."""
    last = last_layer(module, n_outputs)
    own = {n: p for n, p in module.named_parameters() if n.rpartition(".")[0] != last}
    buffers = {name for name, _ in module.named_buffers()}
    lacking = sorted(own.keys() - loaded.keys())
    odd = [
        name
        for name in loaded.keys() - own.keys() - buffers
        if not last or name.rpartition(".")[0] != last
    ]
    wrong = [
        f"{name} is {tuple(loaded[name].shape)}, not {tuple(value.shape)}"
        for name, value in own.items()
        if name in loaded and loaded[name].shape != value.shape
    ]
    if lacking or odd or wrong:
        found = (
            [f"lacks {name}" for name in lacking]
            + wrong
            + [f"has {name}, which the model lacks" for name in sorted(odd)]
        )
        raise StudyError(
            f"the weights of '{path}' do not fit the model: {'; '.join(found[:3])}",
            expected="the state dict of the same model; only its last layer may differ",
            where="[net] weights",
        )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(loaded[name])
