"""Any `nn.Module` as pure functions of its parameters, and the user's own by import path."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from clsweep.data.heads import Heads
from clsweep.data.rng import generator, seeded_globally
from clsweep.errors import StudyError
from clsweep.nets.bodies import Shape
from clsweep.nets.norms import has_statistics, is_statistic, statistic_names
from clsweep.nets.parameter_trees import Params
from clsweep.signals import contained


class Origin(NamedTuple):
    """Where a module comes from, for error messages.

    Attributes:
        name: what messages call it.
        where: the key of the study file that chose it.
    """

    name: str
    where: str


class Parts(NamedTuple):
    """A module as pure functions; its outputs are all logits of all heads.

    Attributes:
        init: (generator) -> params, without running statistics.
        features: (params, x [B, C, H, W]) -> logits [B, n_outputs].
        readout: names of the last linear layer's parameters; empty without one.
        statistics: names of the running statistics.
    """

    init: Callable[[torch.Generator], Params]
    features: Callable[[Params, Tensor], Tensor]
    readout: tuple[str, ...]
    statistics: frozenset[str]


def module_parts(
    make: Callable[[torch.Generator], nn.Module],
    origin: Origin,
    input_shape: Shape,
    heads: Heads,
) -> Parts:
    """The functions of a module.

    Args:
        make: (generator) -> the module with fresh weights.
        origin: where it comes from.
        input_shape: (C, H, W) of the benchmark's images.
        heads: the benchmark's heads; the module has `n_outputs` outputs.

    Raises:
        StudyError: the module's forward pass is no pure function, or does not fit.
    """
    module = make(generator(0, "probe")).train()
    norms = {name: m for name, m in module.named_modules() if isinstance(m, _BatchNorm)}
    _check_norms(norms, origin)
    statistics = frozenset(s for name in norms for s in statistic_names(name))
    held = {
        name: value.detach()
        for name, value in module.named_buffers()
        if name.rpartition(".")[0] not in norms
    }
    # One copy whose batch norms use the statistics they are given, one that normalises by the
    # batch and has none to update. Nothing else of the two differs.
    running = copy.deepcopy(module) if norms else module
    for name, layer in running.named_modules():
        layer.training = name not in norms
    for layer in norms.values():
        layer.track_running_stats = False

    def init(rng: torch.Generator) -> Params:
        return {name: value.detach().clone() for name, value in make(rng).named_parameters()}

    def features(params: Params, x: Tensor) -> Tensor:
        constants = {name: value.to(x.device) for name, value in held.items()}
        chosen = running if has_statistics(params, statistics) else module
        out: Tensor = functional_call(chosen, (params, constants), (x,))
        return out

    _probe(module, origin, input_shape, heads)
    last = last_layer(module, heads.n_outputs)
    readout = tuple(
        name for name, _ in module.named_parameters() if last and name.rpartition(".")[0] == last
    )
    return Parts(init, features, readout, statistics)


def last_layer(module: nn.Module, n_outputs: int) -> str:
    """Name of the last linear layer that has an output for every class; '' without one.

    Args:
        module: the network.
        n_outputs: classes over all heads.
    """
    found = [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and layer.out_features == n_outputs
    ]
    return found[-1] if found else ""


def _check_norms(norms: dict[str, _BatchNorm], origin: Origin) -> None:
    """Refuse batch norms that cannot be evaluated one example at a time."""
    for name, layer in norms.items():
        if not name or not layer.track_running_stats:
            raise StudyError(
                f"the batch norm '{name}' of {origin.name} keeps no running statistics",
                expected="batch norms with track_running_stats=True, below the module's root",
                where=origin.where,
            )


def _check_parameters(module: nn.Module, origin: Origin) -> None:
    """Refuse modules of which nothing, or not everything, is trained."""
    parameters = dict(module.named_parameters())
    reserved = [name for name in parameters if is_statistic(name)]
    if reserved:
        raise StudyError(
            f"{origin.name} has parameters named as running statistics are: {reserved}",
            expected="no trained parameter with a name that ends in running_mean or running_var",
            where=origin.where,
        )
    fixed = [name for name, value in parameters.items() if not value.requires_grad]
    if parameters and not fixed:
        return
    raise StudyError(
        f"{origin.name} has "
        + (f"parameters that are not to be trained: {fixed[:3]}" if fixed else "no parameters"),
        expected="parameters that are all trained",
        where=origin.where,
        next_step="register_buffer holds constants" if fixed else "",
    )


def _probe(module: nn.Module, origin: Origin, input_shape: Shape, heads: Heads) -> None:
    """Refuse modules whose forward pass is random, changes buffers, or has the wrong shape."""
    x = torch.rand(2, *input_shape, generator=generator(0, "probe-input"))
    before = {name: value.clone() for name, value in module.named_buffers()}
    try:
        with torch.no_grad(), contained():
            first, second = module.train()(x), module(x)
    except Exception as error:  # a forward pass runs the user's code
        raise StudyError(
            f"{origin.name} fails on inputs {tuple(x.shape)}: {type(error).__name__}: {error}",
            where=origin.where,
        ) from error
    _check_parameters(module, origin)
    if not isinstance(first, Tensor):
        raise StudyError(
            f"{origin.name} returns a {type(first).__name__}",
            expected=f"a tensor of logits, [n_images, {heads.n_outputs}]",
            where=origin.where,
        )
    if tuple(first.shape) != (2, heads.n_outputs):
        raise StudyError(
            f"{origin.name} returns shape {tuple(first.shape)} for 2 images",
            expected=f"(2, {heads.n_outputs}), one logit per class over all tasks",
            where=origin.where,
        )
    changed = [n for n, v in module.named_buffers() if not torch.equal(v, before[n])]
    if changed or not torch.equal(first, second):
        cause = f"changes its buffers {changed}" if changed else "is random (dropout?)"
        raise StudyError(
            f"{origin.name} {cause} in a training-mode forward pass",
            expected="a module whose output depends on parameters and input alone",
            where=origin.where,
            next_step="no dropout; BatchNorm is the only layer whose buffers may move",
        )


def custom_parts(path: str, input_shape: Shape, heads: Heads) -> Parts:
    """The functions of a user's module; its outputs are divided among the tasks.

    Args:
        path: 'package.module:callable'.
        input_shape: (C, H, W) of the benchmark's images.
        heads: the benchmark's heads, `n_outputs` in all.

    Raises:
        StudyError: the factory cannot be used, or its module is no pure function.
    """
    factory = _imported(path)
    origin = Origin(f"the module of '{path}'", "[net] factory")
    return module_parts(
        lambda rng: _made(factory, path, input_shape, heads, rng), origin, input_shape, heads
    )


def _imported(path: str) -> Callable[[Shape, int], nn.Module]:
    where = "[net] factory"
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise StudyError(
            f"'{path}' is no import path", expected="package.module:factory", where=where
        )
    try:
        with contained():
            found = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # importing runs the user's code
        kind = (
            "" if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: "
        )
        raise StudyError(
            f"'{path}' cannot be imported: {kind}{error}",
            where=where,
            next_step="the module must be importable on every worker (installed, or in the "
            "current folder with PYTHONPATH=.)",
        ) from error
    if not callable(found):
        raise StudyError(
            f"'{path}' is a {type(found).__name__}, not callable",
            expected="factory(input_shape, n_outputs) -> torch.nn.Module",
            where=where,
        )
    factory: Callable[[Shape, int], nn.Module] = found
    return factory


def _made(
    factory: Callable[[Shape, int], nn.Module],
    path: str,
    input_shape: Shape,
    heads: Heads,
    rng: torch.Generator,
) -> nn.Module:
    """The factory's module; its own use of torch's global generator is seeded and contained."""
    with seeded_globally(rng):
        try:
            with contained():
                module = factory(input_shape, heads.n_outputs)
        except Exception as error:
            raise StudyError(
                f"'{path}' raised {type(error).__name__}: {error}",
                expected=f"factory({input_shape}, {heads.n_outputs}) -> torch.nn.Module",
                where="[net] factory",
            ) from error
    if not isinstance(module, nn.Module):
        raise StudyError(
            f"'{path}' returned a {type(module).__name__}",
            expected="a torch.nn.Module",
            where="[net] factory",
        )
    return module.float()
