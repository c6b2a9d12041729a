"""Networks of users: `factory(input_shape, n_outputs) -> nn.Module` by import path."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch
from torch import nn

from clsweep.bodies import Shape
from clsweep.catalog import Heads
from clsweep.draws import seeded_globally
from clsweep.errors import StudyError
from clsweep.interrupts import contained
from clsweep.modules import Origin, Parts, module_parts

__all__ = ["custom_parts"]


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
