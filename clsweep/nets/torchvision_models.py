"""The classification models of torchvision by name, drawn anew or with weights from a local file.

The last layer has an output for every class of the study and is always drawn. Everything else is
the model's own, with two differences. Dropout and stochastic depth are switched off: a forward
pass draws nothing. Images with one channel are repeated to the three that the models expect.
Running statistics are not read from the file: they are set from the first task's data, see
`clsweep.training.batch_norm_statistics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from clsweep.data.heads import Heads
from clsweep.data.rng import seeded_globally
from clsweep.errors import StudyError, closest_name
from clsweep.nets.bodies import Shape
from clsweep.nets.modules import Origin, Parts, last_layer, module_parts
from clsweep.nets.parameter_trees import Params

# Where the classifiers lie that two models have in training beside their last layer.
_AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
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
    check_name(name, "[net] model")
    loaded = None
    if weights is not None:
        loaded = without_auxiliary(name, state_dict(weights, "[net] weights"))

    def make(rng: torch.Generator) -> nn.Module:
        module = initial_model(name, heads.n_outputs, rng)
        for layer in module.modules():
            if isinstance(layer, _RANDOM):
                layer.p = 0.0
        if input_shape[0] == 1:
            module.register_forward_pre_hook(_in_three_channels)
        if loaded is not None:
            # Buffers of the file are not looked at.
            own = dict(module.named_parameters())
            buffers = {name for name, _ in module.named_buffers()}
            last = last_layer(module, heads.n_outputs)
            fill(own, loaded, f"'{weights}'", "[net] weights", last=last, unread=buffers)
        return module

    return module_parts(make, Origin(f"torchvision's '{name}'", "[net] model"), input_shape, heads)


def check_name(name: str, where: str) -> None:
    """Refuse a name that is none of torchvision's classification models.

    Args:
        name: what was asked for.
        where: the key that asks for it, for messages.

    Raises:
        StudyError: there is no such model.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise StudyError(
            f"torchvision has no classification model '{name}'",
            expected=closest_name(name, known),
            where=where,
        )


def initial_model(name: str, n_outputs: int, rng: torch.Generator) -> nn.Module:
    """A model of torchvision with drawn weights.

    Args:
        name: one that `check_name` lets pass.
        n_outputs: of its last layer.
        rng: draws the weights.
    """
    with seeded_globally(rng):
        module: nn.Module = torchvision.models.get_model(
            name, weights=None, num_classes=n_outputs, **_options(name)
        )
    return module


def _options(name: str) -> dict[str, Any]:
    """Arguments without which two models warn or return more than logits."""
    if name not in _AUXILIARY:
        return {}
    return {"aux_logits": False, "init_weights": True}


def without_auxiliary(name: str, loaded: Params) -> Params:
    """Weights without those of auxiliary classifiers, which published files hold.

    Args:
        name: of the model.
        loaded: what the file holds.
    """
    left_out = _AUXILIARY.get(name, ())
    return {key: value for key, value in loaded.items() if not key.startswith(left_out)}


def _in_three_channels(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return (args[0].expand(-1, 3, -1, -1),)


def state_dict(path: Path, where: str) -> Params:
    """Tensors by name out of a file; nothing is unpickled but tensors.

    Args:
        path: as torch.save or safetensors write it.
        where: the key that asks for it, for messages.

    Raises:
        StudyError: it holds none.
    """
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
        where=where,
    )


def fill(
    own: Mapping[str, Tensor],
    loaded: Params,
    source: str,
    where: str,
    *,
    last: str = "",
    unread: Iterable[str] = (),
) -> None:
    """Copy weights out of a file into a module's tensors, but for its last layer's.

    Args:
        own: the module's tensors by name, written to.
        loaded: what the file holds.
        source: what messages call the file.
        where: the key that asks for it, for messages.
        last: name of the last layer, which may be any in the file; '' for none.
        unread: names of what the file may hold besides.

    Raises:
        StudyError: they do not fit.
    """
    own = {n: value for n, value in own.items() if not last or n.rpartition(".")[0] != last}
    lacking = sorted(own.keys() - loaded.keys())
    odd = [
        name
        for name in loaded.keys() - own.keys() - set(unread)
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
            f"the weights of {source} do not fit the model: {'; '.join(found[:3])}",
            expected="the state dict of the same model"
            + ("; only its last layer may differ" if last else ""),
            where=where,
        )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(loaded[name])
